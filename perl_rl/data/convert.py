"""``perl-rl data convert``: any format on disk becomes our JSON lines and a folder of images."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, get_args

from shared.config.source import FormatName, SourceConfig, SourceKeys
from shared.errors import UserError
from shared.formats import ImageFolder, Located, Report, stream

SAID_EVERY_S = 5.0
MAX_IMAGE_PIXELS = 64_000_000


def add_convert(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``convert`` to the actions of ``perl-rl data``."""
    text = "write data of any format as JSON lines of samples and a folder of images"
    parser = actions.add_parser("convert", help=text, description=text)
    parser.set_defaults(command=_convert)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files or folders")
    parser.add_argument("--format", required=True, choices=get_args(FormatName))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="default: images/ beside the output"
    )
    parser.add_argument("--image-dir", type=Path, help="where relative image paths start")
    parser.add_argument("--split", help="only a folder's shards of this split")
    parser.add_argument("--subset", action="append", default=[], help="of Mantis, by source")
    parser.add_argument("--name", help="put before the ids of the samples")
    parser.add_argument("--prompt-key", help="EasyR1: column of the question")
    parser.add_argument("--images-key", default="images", help="EasyR1: column of the images")
    parser.add_argument("--answer-key", default="answer", help="EasyR1: column of the answer")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="leave out and count rows that do not fit"
    )
    parser.add_argument(
        "--max-image-pixels", type=int, default=MAX_IMAGE_PIXELS, help="refuse larger pictures"
    )
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def _convert(options: argparse.Namespace) -> int:
    # Checked here, so that a setting of another format is one line.
    if options.subset and options.format != "mantis":
        raise UserError(f"--subset belongs to format mantis, not {options.format}")
    keys = SourceKeys(
        prompt=options.prompt_key, images=options.images_key, answer=options.answer_key
    )
    if keys != SourceKeys() and options.format != "easyr1":
        raise UserError(f"--*-key belongs to format easyr1, not {options.format}")
    sources = [
        SourceConfig(
            path=path.absolute(),
            format=options.format,
            name=options.name,
            split=options.split,
            skip_bad_rows=options.skip_bad_rows,
            image_dir=options.image_dir and options.image_dir.absolute(),
            subsets=tuple(options.subset),
            keys=keys,
        )
        for path in options.paths
    ]
    report = convert(sources, options.out, options.images, options.max_image_pixels)
    print(f"{options.out}: {report.samples} samples, {report.skipped.total()} rows skipped")
    for reason, count in report.skipped.most_common():
        print(f"{count:8d}  {reason}   e.g. {report.examples[reason]}")
    return 0


def convert(
    sources: list[SourceConfig],
    out: Path,
    images: Path | None = None,
    max_pixels: int = MAX_IMAGE_PIXELS,
    progress: TextIO = sys.stderr,
) -> Report:
    """Write the samples of `sources` to `out`; it appears when all of them are written.

    Args:
        images: keeps the pictures that lie inside the data files; default: ``images`` beside `out`.

    Raises:
        UserError: naming file, row and column of a row that does not fit and may not be skipped;
            or when two samples have the same id, or there is none.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = ImageFolder((images or out.parent / "images").absolute(), max_pixels)
    report = Report()
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream_out:
            for one in _said(_different(sources, folder, report), report, progress):
                stream_out.write(_line(one, out.parent) + "\n")
        if report.samples == 0:
            raise UserError(f"{sources[0].path}: holds no samples ({report.line()})")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return report


def _different(
    sources: list[SourceConfig], folder: ImageFolder, report: Report
) -> Iterator[Located]:
    seen: dict[str, Path] = {}
    for source in sources:
        for one in stream(source, folder, report):
            other = seen.setdefault(one.sample.id, source.path)
            if other != source.path:
                raise UserError(
                    f"{one.place()}: {other} has a sample with this id; convert it to a file of "
                    "its own, with another --name"
                )
            yield one


def _line(one: Located, folder: Path) -> str:
    """The sample with image paths relative to the output's folder, for those that lie in it."""
    fields = one.sample.model_dump(mode="json", exclude_defaults=True)
    files = [Path(image) for image in one.sample.images]
    fields["images"] = [
        str(file.relative_to(folder) if file.is_relative_to(folder) else file) for file in files
    ]
    return json.dumps(fields, ensure_ascii=False)


def _said(located: Iterator[Located], report: Report, progress: TextIO) -> Iterator[Located]:
    """Passes the samples on and says now and then how many there were: on one line of a terminal,
    else on a line of its own."""
    end = "\r" if progress.isatty() else "\n"
    last = time.monotonic()
    for one in located:
        if time.monotonic() - last > (0.2 if progress.isatty() else SAID_EVERY_S):
            last = time.monotonic()
            said = f"{report.samples} samples, {report.skipped.total()} rows skipped"
            print(said, end=end, file=progress, flush=True)
        yield one
