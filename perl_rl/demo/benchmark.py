"""Held-out digits in the shape of Mantis-Eval, to try ``perl-rl eval`` on.

``python -m perl_rl.demo.benchmark FOLDER`` writes them. The start model can answer them.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from perl_rl.demo.digits import Question, digits, picture, questions
from shared.images import png_bytes
from shared.sample import IMAGE_TAG

QUESTIONS = 240


def write_mantis_shape(folder: Path, count: int = QUESTIONS) -> Path:
    """Write `count` questions as one parquet shard and return its file.

    The gold image is in each place equally often.
    """
    import pyarrow
    import pyarrow.parquet

    asked = questions(count, digits().held_out, 1.0, "0 benchmark")
    rows = [_row(number, question) for number, question in enumerate(asked)]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def _row(number: int, question: Question) -> dict[str, Any]:
    text, *options = question.text.split("\nA. ")
    letters = "ABCD"[: len(question.digits)] if options else ""
    return {
        "id": f"digits_{number}",
        "question_type": "multi-choice" if options else "short-answer",
        "question": text,
        "images": [
            {"bytes": png_bytes(picture(digits().scans[index])), "path": None}
            for index in question.digits
        ],
        "options": [f"({letter}) {IMAGE_TAG}" for letter in letters],
        "answer": question.answer,
        "data_source": "scikit-learn",
        "category": question.kind,
    }


def main() -> int:
    """Write the questions into the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="perl_rl.demo.benchmark", description=__doc__)
    parser.add_argument("folder", type=Path)
    print(write_mantis_shape(parser.parse_args().folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
