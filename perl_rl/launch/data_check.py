"""Checks the data before anything starts: rows, gold answers, pictures, prompts.

What passes here cannot end the run.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from perl_rl.counting import Advance
from perl_rl.golds import Golds
from perl_rl.launch.gold_names import names_nothing
from perl_rl.launch.overlap import overlap_notes
from perl_rl.launch.prompt_process import PromptProcess
from perl_rl.launch.prompts import Job, Prompt
from shared.config import Config
from shared.errors import UserError
from shared.formats import Loaded, Located, SourceConfig, SourceSize, load
from shared.grading.grade import UngradableGold, check_gold
from shared.images import decode_image, digest, image_bytes
from shared.sample import AnswerKind
from shared.words import amount

GOLDS_COMPARED = 5000
"""Different gold answers that are compared with themselves before the start."""

_THREADS = 4

Counting = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Shows how many of so many things are done, as `perl_rl.counting.counting` does."""


@dataclass(frozen=True)
class Rows:
    """The samples of a run."""

    train: list[Located]
    heldout: list[Located]
    sizes: list[SourceSize]
    """Of the sources of `train`."""

    @property
    def all(self) -> list[Located]:
        """Those to train on, then those held out."""
        return [*self.train, *self.heldout]


@dataclass(frozen=True)
class Checked:
    """What was checked."""

    rows: Rows
    pictures: int
    """Different files."""
    lengths: list[int]
    """Tokens of the prompt of each of `rows.all`."""

    def line(self) -> str:
        """It in one line."""
        return (
            f"data: {amount(len(self.lengths), 'question')} and "
            f"{amount(self.pictures, 'picture')} checked, the longest prompt has "
            f"{amount(max(self.lengths), 'token')}"
        )


def check_data(
    config: Config,
    run_dir: Path,
    counting: Counting,
    note: Callable[[str], None],
    pictures_done: Callable[[], None] = lambda: None,
) -> Checked:
    """Read all rows, decode every picture once, and render every prompt once.

    Pictures inside data files are copied to the run's folder, unless the configuration names
    another.

    Args:
        note: called with a line about the rows of each source, and about each gold answer that no
            answer can match.
        pictures_done: called when only the prompts are left.

    Raises:
        UserError: naming file and row of the first sample that the run could not use.
    """
    with PromptProcess() as process:
        rows = read_rows(config, run_dir, counting, note)
        for line in skipping_notes(config, len(rows.train)):
            note(line)
        compare_golds(config, rows.all, counting, note)
        digests = dict[str, str]()
        sizes = picture_sizes(rows.all, config.data.max_image_pixels, counting, digests)
        for line in overlap_notes(config, rows.train, rows.heldout, digests):
            note(line)
        pictures_done()
        prompts, of = _prompts(config, rows, sizes)
        job = Job(model=config.model, instruction=config.data.instruction, prompts=prompts)
        with counting("prompts", len(prompts)) as advance:
            lengths = process.check(job, advance)
    return Checked(rows, pictures=len(sizes), lengths=[lengths[index] for index in of])


def read_rows(
    config: Config, run_dir: Path, counting: Counting, note: Callable[[str], None]
) -> Rows:
    """All samples.

    Raises:
        UserError: naming file and row of the first that does not fit, or has too many images or a
            gold answer that nothing can match.
    """
    train = _load(config, config.data.train_sources(), "rows", run_dir, counting, note)
    sources = config.data.heldout_sources()
    if not sources:
        return Rows(train.located, [], train.sizes)
    heldout = _load(config, sources, "held-out rows", run_dir, counting, note)
    return Rows(train.located, heldout.located, train.sizes)


def _load(
    config: Config,
    sources: tuple[SourceConfig, ...],
    what: str,
    run_dir: Path,
    counting: Counting,
    note: Callable[[str], None],
) -> Loaded:
    with counting(what, None) as advance:
        loaded = load(config.data, sources, run_dir / "images", advance)
    for line in loaded.notes:
        note(line)
    golds = set[tuple[str, AnswerKind]]()
    for one in loaded.located:
        _check_sample(one, config.rollout.engine.max_images, golds)
    return loaded


def _check_sample(one: Located, most_images: int, golds: set[tuple[str, AnswerKind]]) -> None:
    """Refuse a sample that the run could not use; `golds` are those that are known to be good."""
    sample = one.sample
    if len(sample.images) > most_images:
        raise UserError(
            f"{one.place()}: {amount(len(sample.images), 'image')}, more than "
            f"rollout.engine.max_images ({most_images}); raise it or leave the sample out"
        )
    gold = (sample.answer, sample.kind)
    if gold not in golds:
        try:
            check_gold(*gold)
        except UngradableGold as error:
            raise UserError(f"{one.place()}: {error}") from None
        golds.add(gold)
    if nothing := names_nothing(sample):
        raise UserError(f"{one.place()}: {nothing}; correct it or leave the sample out")


def skipping_notes(config: Config, questions: int) -> Iterator[str]:
    """A line when the run may end before a question is asked twice."""
    groups = config.trainer.steps * config.trainer.groups_per_step
    if config.data.skipping.target is not None and questions > groups:
        yield (
            f"data.skipping: nothing is skipped within the first epoch; this run trains {groups} "
            f"groups and has {amount(questions, 'question')}"
        )


def compare_golds(
    config: Config, located: list[Located], counting: Counting, note: Callable[[str], None]
) -> None:
    """Note each gold answer that no answer can match."""
    golds = Golds()
    for one in located:
        golds.add(one)
    with counting("gold answers", min(len(golds), GOLDS_COMPARED)) as advance:
        lines = golds.unmatched(config.reward, GOLDS_COMPARED, advance=advance)
    for line in lines:
        note(line)


def picture_sizes(
    located: list[Located],
    max_pixels: int,
    counting: Counting,
    digests: dict[str, str] | None = None,
) -> dict[str, tuple[int, int]]:
    """Height and width of each picture file, as decoded; equal pictures are decoded once.

    Args:
        digests: gets the digest of each file's content.

    Raises:
        UserError: naming the row of the first picture that cannot be decoded.
    """
    rows: dict[str, Located] = {}
    for one in located:
        for image in one.sample.images:
            rows.setdefault(image, one)
    known: dict[str, tuple[int, int]] = {}

    def size(image: str) -> tuple[int, int]:
        try:
            data = image_bytes(Path(image))
            name = digest(data)
            if digests is not None:
                digests[image] = name
            if name not in known:
                picture = decode_image(data, image, max_pixels)
                known[name] = (picture.height, picture.width)
        except UserError as error:
            raise UserError(f"{rows[image].place()}: {error}") from None
        return known[name]

    sizes = dict[str, tuple[int, int]]()
    pool = ThreadPoolExecutor(_THREADS)
    try:
        with counting("pictures", len(rows)) as advance:
            for image, found in zip(rows, pool.map(size, rows), strict=True):
                sizes[image] = found
                advance()
    finally:
        # After an error nobody waits for the pictures that are left.
        pool.shutdown(cancel_futures=True)
    return sizes


def _prompts(
    config: Config, rows: Rows, sizes: dict[str, tuple[int, int]]
) -> tuple[tuple[Prompt, ...], list[int]]:
    """The different prompts, each at the place of the first sample that has it.

    Also the index among them of the prompt of each of `rows.all`.
    """
    prompts: dict[tuple[str, tuple[tuple[int, int], ...], bool], Prompt] = {}
    index: dict[tuple[str, tuple[tuple[int, int], ...], bool], int] = {}
    context, of = config.rollout.engine.max_model_len, list[int]()
    for number, one in enumerate(rows.all):
        held_out = number >= len(rows.train)
        shown = tuple(sizes[image] for image in one.sample.images)
        section, answer = (
            ("eval", config.eval.max_tokens)
            if held_out
            else ("sampling", config.sampling.max_tokens)
        )
        key = (one.sample.question, shown, held_out)
        if key not in prompts:
            prompts[key] = Prompt(
                place=one.place(),
                question=one.sample.question,
                sizes=shown,
                room=context - answer,
                room_of=(
                    f"rollout.engine.max_model_len {context} less {section}.max_tokens {answer}"
                ),
            )
        of.append(index.setdefault(key, len(index)))
    return tuple(prompts.values()), of
