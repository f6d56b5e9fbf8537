"""``perl-rl data convert``: data files of any format become JSON lines and a folder of images."""

import argparse
from pathlib import Path

from perl_rl.cli.options import add_debug, whole
from shared.words import amount


def add_convert(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``convert`` to the actions of ``perl-rl data``."""
    text = "turn data files of any format into JSON lines of samples and a folder of images"
    parser = actions.add_parser("convert", help=text, description=text)
    parser.set_defaults(command=_convert)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files or folders")
    parser.add_argument("--format", required=True, metavar="NAME", help="see docs/data.md")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.jsonl", help="where they go"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="where images go (default: images/ beside the output)",
    )
    parser.add_argument(
        "--image-dir",
        type=Path,
        metavar="DIR",
        help="folder that relative image paths start from (default: that of the file)",
    )
    parser.add_argument("--split", help="take only this split's shards of a folder (default: all)")
    parser.add_argument(
        "--subset",
        action="append",
        default=[],
        help="Mantis: a source to take; may be given several times (default: all)",
    )
    parser.add_argument("--name", help="prefix of the samples' ids (default: none)")
    parser.add_argument(
        "--prompt-key", help="EasyR1: column of the question (default: problem, else prompt)"
    )
    parser.add_argument(
        "--images-key",
        default="images",
        help="EasyR1: column of the images; '' when the data has none",
    )
    text = "EasyR1: column of the answer"
    parser.add_argument("--answer-key", default="answer", help=text)
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out rows that do not fit, and count them",
    )
    text = "refuse larger pictures"
    parser.add_argument("--max-image-pixels", type=whole(1), default=64_000_000, help=text)
    add_debug(parser)


def _convert(options: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from perl_rl.data.conversion import convert
    from shared.config.source import SourceConfig
    from shared.errors import UserError
    from shared.formats.hub import is_hub
    from shared.problems import given_word, in_words

    settings = {
        "format": options.format,
        "name": options.name,
        "split": options.split,
        "skip_bad_rows": options.skip_bad_rows,
        "image_dir": options.image_dir and options.image_dir.absolute(),
        "subsets": options.subset,
        "keys": {
            "prompt": options.prompt_key,
            "images": options.images_key or None,
            "answer": options.answer_key,
        },
    }
    try:
        sources = [
            SourceConfig.model_validate(
                {"path": path if is_hub(path) else path.absolute(), **settings}
            )
            for path in options.paths
        ]
    except ValidationError as error:
        first = error.errors()[0]
        where = f"--{first['loc'][0]}: " if first["loc"] else ""
        raise UserError(where + in_words(first) + given_word(first)) from None
    counts, unmatched = convert(sources, options.out, options.images, options.max_image_pixels)
    print(
        f"{options.out}: {amount(counts.samples, 'sample')}, "
        f"{amount(counts.skipped.total(), 'row')} skipped"
    )
    for reason, count in counts.skipped.most_common():
        print(f"{count:8d}  {reason}   e.g. {counts.examples[reason]}")
    for line in unmatched:
        print(line)
    return 0
