"""What the data of a run holds, as `perl-rl check` prints it: in lines of at most 100 columns."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from textwrap import wrap

from perl_rl.launch.data_check import Checked
from shared.config import Config
from shared.formats import Located, SourceSize
from shared.permutation import refusal

COLUMNS = 100
_MOST_SOURCES = 20
_NAME = 28


def data_lines(config: Config, checked: Checked) -> list[str]:
    """Samples by source and kind, what can be permuted, images, prompts, steps and epochs."""
    rows = checked.rows
    reasons = [refusal(one.sample) for one in rows.train]
    lines = [f"training data: {len(rows.train):,} samples; held out: {len(rows.heldout):,}", ""]
    lines += _sources(rows.train, reasons)
    lines += ["", *_permuted(rows.train, reasons)]
    if config.permutation.n_s == 0:
        lines.append("  permutation.n_s is 0: this run permutes none")
    lines += ["", _images(rows.train), _prompts(config, checked)]
    return lines + list(_steps(config, rows.sizes))


def _sources(train: Sequence[Located], reasons: Sequence[str | None]) -> Iterator[str]:
    """A table with one line for each source, the largest first."""
    of: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(train):
        of[one.sample.source or one.file.name].append(index)
    yield f"{'source':<{_NAME}} {'samples':>9} {'can be permuted':>16}  kinds of answers"
    ranked = sorted(of, key=lambda name: -len(of[name]))
    for name in ranked[:_MOST_SOURCES]:
        yield from _row(_short(name), of[name], train, reasons)
    if rest := ranked[_MOST_SOURCES:]:
        together = [index for name in rest for index in of[name]]
        yield from _row(f"{len(rest)} more sources", together, train, reasons)


def _row(
    name: str, indices: Sequence[int], train: Sequence[Located], reasons: Sequence[str | None]
) -> Iterator[str]:
    free = sum(reasons[index] is None for index in indices)
    kinds = Counter(train[index].sample.kind for index in indices)
    words = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    start = f"{name:<{_NAME}} {len(indices):>9,} {_share(free, len(indices)):>16}  "
    first, *more = wrap(words, COLUMNS - len(start))
    yield start + first
    yield from (" " * len(start) + line for line in more)


def _permuted(train: Sequence[Located], reasons: Sequence[str | None]) -> Iterator[str]:
    """How many samples can be permuted, and why the others cannot, each with an example."""
    free = reasons.count(None)
    yield f"can be permuted: {free:,} of {len(train):,} ({_share(free, len(train))})"
    if free == len(train):
        return
    yield "  the others keep their order, because of (docs/permutation.md explains each):"
    examples: dict[str, Located] = {}
    for one, reason in zip(train, reasons, strict=True):
        if reason is not None:
            examples.setdefault(reason, one)
    for reason, count in Counter(reason for reason in reasons if reason).most_common():
        one = examples[reason]
        place = f"{one.file.name}, row {one.row}, sample '{one.sample.id}'"
        yield _cut(f"  {count:>9,}  {reason}: {place}")


def _images(train: Sequence[Located]) -> str:
    counts = Counter(len(one.sample.images) for one in train)
    words = ", ".join(f"{images} in {counts[images]:,}" for images in sorted(counts)[:10])
    more = sum(counts[images] for images in sorted(counts)[10:])
    return _cut(f"images of a sample: {words}" + (f", more in {more:,}" if more else ""))


def _prompts(config: Config, checked: Checked) -> str:
    lengths = checked.lengths[: len(checked.rows.train)]
    room = config.rollout.engine.max_model_len - config.sampling.max_tokens
    return (
        f"prompts: {median(lengths):.0f} tokens in the middle (median), {max(lengths)} the "
        f"longest; {room} fit"
    )


def _steps(config: Config, sizes: Sequence[SourceSize]) -> Iterator[str]:
    """How often the run asks the data, not counting what is asked in place of dropped groups."""
    trainer = config.trainer
    groups, size = trainer.steps * trainer.groups_per_step, sum(one.size for one in sizes)
    asked = f"training: {trainer.steps:,} steps of {trainer.groups_per_step:,} groups"
    if len(sizes) == 1:
        yield (
            f"{asked} ask {groups:,} questions: {groups / size:.2f} epochs; an epoch is "
            f"{size / trainer.groups_per_step:.1f} steps"
        )
    else:
        yield f"{asked} ask {groups:,} questions:"
        total = sum(one.weight for one in sizes)
        for one in sizes:
            share = one.weight / total
            epochs = groups * share / one.size
            name = _short(one.name)
            yield f"  {name:<{_NAME}} {share:>5.0%} of them, {epochs:.2f} epochs of {one.size:,}"
    yield "  groups that the filter drops are replaced by more questions of the same data"


def _short(name: str) -> str:
    """The end of a long name, which may be a path."""
    return name if len(name) <= _NAME else "..." + name[3 - _NAME :]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}"


def _cut(line: str) -> str:
    return line if len(line) <= COLUMNS else line[: COLUMNS - 3] + "..."
