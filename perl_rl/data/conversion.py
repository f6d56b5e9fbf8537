"""From data files of any format to JSON lines of samples and a folder of images."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from perl_rl.golds import Golds
from shared.config import RewardConfig
from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.files import make_place, scratch_for
from shared.formats import ImageFolder, Located, RowCounts, stream
from shared.words import amount

SAID_EVERY_S = 5.0


def convert(
    sources: list[SourceConfig],
    out: Path,
    images: Path | None = None,
    max_pixels: int = 64_000_000,
) -> tuple[RowCounts, list[str]]:
    """Write the samples of `sources` to `out`, which appears when all of them are written.

    Returns the counts, and a line for each gold answer that no answer can match.

    Args:
        images: folder for pictures that are stored inside the data files. Default: ``images``
            beside `out`.

    Raises:
        UserError: naming file, row and column of a row that does not fit and must not be skipped;
            or when two files have a sample of the same id, there is no sample, or `out` is an
            input.
    """
    out = out.absolute()
    if any(source.path.resolve() == out.resolve() for source in sources):
        raise UserError(f"--out {out}: is one of the files to convert; name another one")
    make_place(out, "--out")
    if out.suffix not in (".jsonl", ".json"):
        raise UserError(f"--out {out}: gets JSON lines; give it a name that ends in .jsonl")
    folder = ImageFolder((images or out.parent / "images").absolute(), max_pixels)
    counts, golds = RowCounts(), Golds()
    with scratch_for(out) as scratch:
        with scratch.open("w", encoding="utf-8") as stream_out:
            for one in _said(_different(sources, folder, counts), counts):
                stream_out.write(_line(one, out.parent) + "\n")
                golds.add(one)
        if counts.samples == 0:
            raise UserError(f"{sources[0].path}: holds no samples ({counts.line()})")
    return counts, golds.unmatched(RewardConfig(), progress=_Spoken().say)


def _different(
    sources: list[SourceConfig], folder: ImageFolder, counts: RowCounts
) -> Iterator[Located]:
    seen: dict[str, Path] = {}
    for source in sources:
        for one in stream(source, folder, counts):
            other = seen.setdefault(one.sample.id, source.path)
            if other != source.path:
                raise UserError(
                    f"{one.place()}: {other} has a sample with this id too; convert the two files "
                    "one by one, each with its own --name"
                )
            yield one


def _line(one: Located, folder: Path) -> str:
    """The sample as JSON; images inside the output's folder are named relative to it."""
    fields = one.sample.model_dump(mode="json", exclude_defaults=True)
    files = [Path(image) for image in one.sample.images]
    fields["images"] = [
        str(file.relative_to(folder) if file.is_relative_to(folder) else file) for file in files
    ]
    return json.dumps(fields, ensure_ascii=False)


def _said(located: Iterator[Located], counts: RowCounts) -> Iterator[Located]:
    """Pass the samples on and print on standard error, now and then, how many there were."""
    spoken = _Spoken()
    for one in located:
        spoken.say(
            f"{amount(counts.samples, 'sample')}, {amount(counts.skipped.total(), 'row')} skipped"
        )
        yield one


class _Spoken:
    """Prints on standard error what is being done, now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def say(self, doing: str) -> None:
        if time.monotonic() - self._last > (0.2 if self._terminal else SAID_EVERY_S):
            self._last = time.monotonic()
            print(doing, end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)
