"""What the data of a run holds, as `perl-rl check` prints it: in lines of at most 100 columns."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from textwrap import wrap

from perl_rl.launch.data_check import Checked, Counting
from shared.config import Config
from shared.formats import Located, SourceSize
from shared.permutation import refusal
from shared.seeds import generator
from shared.words import amount

COLUMNS = 100
READ_AT_MOST = 5_000
"""Samples whose texts are read for the share that can be permuted: about 1 ms each."""
_MOST_SOURCES = 20
_NAME = 28


def data_lines(config: Config, checked: Checked, counting: Counting) -> list[str]:
    """Samples by source and kind, what can be permuted, images, prompts, steps and epochs."""
    rows = checked.rows
    lines = [
        f"training data: {amount(len(rows.train), 'sample', ',')}; held out: {len(rows.heldout):,}",
        "",
    ]
    lines += _sources(rows.train)
    lines += ["", *_permuted(config, rows.train, counting)]
    if config.permutation.n_s == 0:
        lines.append("  permutation.n_s is 0: this run permutes none")
    lines += ["", _images(rows.train), _prompts(config, checked)]
    return lines + list(_steps(config, rows.sizes))


def _sources(train: Sequence[Located]) -> Iterator[str]:
    """A table with one line for each source, the largest first."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for one in train:
        kinds[one.sample.source or one.file.name][one.sample.kind] += 1
    ranked = sorted(kinds, key=lambda name: -kinds[name].total())
    yield f"{'source':<{_NAME}} {'samples':>11}  kinds of answers"
    for name in ranked[:_MOST_SOURCES]:
        yield from _row(_short(name), kinds[name])
    if rest := ranked[_MOST_SOURCES:]:
        yield from _row(f"{len(rest)} more sources", sum((kinds[one] for one in rest), Counter()))


def _row(name: str, kinds: Counter[str]) -> Iterator[str]:
    words = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    start = f"{name:<{_NAME}} {kinds.total():>11,}  "
    first, *more = wrap(words, COLUMNS - len(start))
    yield start + first
    yield from (" " * len(start) + line for line in more)


def _permuted(config: Config, train: Sequence[Located], counting: Counting) -> Iterator[str]:
    """How many samples can be permuted, and why the others cannot, each with an example."""
    looked_at, of = train, f"{len(train):,}"
    if len(train) > READ_AT_MOST:
        looked_at = generator(config.seed, "check").sample(train, READ_AT_MOST)
        of = f"{READ_AT_MOST:,} samples drawn at random"
    reasons: Counter[str] = Counter()
    examples: dict[str, Located] = {}
    with counting("orders of images", len(looked_at)) as advance:
        for one in looked_at:
            reason = refusal(one.sample)
            if reason is not None:
                reasons[reason] += 1
                examples.setdefault(reason, one)
            advance()
    free = len(looked_at) - reasons.total()
    yield f"can be permuted: {free:,} of {of} ({free / len(looked_at):.0%})"
    if reasons:
        yield "  the others keep their order (docs/permutation.md explains each reason):"
    for reason, count in reasons.most_common():
        one = examples[reason]
        place = f"{one.file.name}, {one.unit} {one.row}, sample '{one.sample.id}'"
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
    each = amount(trainer.groups_per_step, "group", ",")
    asked = f"training: {amount(trainer.steps, 'step', ',')} of {each}"
    if len(sizes) == 1:
        yield (
            f"{asked} ask {amount(groups, 'question', ',')}: {groups / size:.2f} epochs; an epoch "
            "is "
            f"{size / trainer.groups_per_step:.1f} steps"
        )
    else:
        yield f"{asked} ask {amount(groups, 'question', ',')}:"
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


def _cut(line: str) -> str:
    return line if len(line) <= COLUMNS else line[: COLUMNS - 3] + "..."
