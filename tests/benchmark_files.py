"""Writes small benchmarks of real handwritten digits in exactly the published shapes.

Every question can be answered from its pictures; `SHOWN` remembers the digits in each.
"""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image

from perl_rl.demo.digits import digits, picture
from shared.images import digest, png_bytes
from shared.permutation import ORDINALS

SHOWN: dict[str, tuple[int, ...]] = {}
"""SHA-256 of a picture's bytes to the digits in it, left to right."""

BLINK_TASKS = (
    *("Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test"),
    *("Jigsaw", "Multi-view_Reasoning", "Object_Localization", "Relative_Depth"),
    *("Relative_Reflectance", "Semantic_Correspondence", "Spatial_Relation"),
    *("Visual_Correspondence", "Visual_Similarity"),
)
_POOL = 80

Row = dict[str, Any]


@cache
def _pool() -> dict[int, list[bytes]]:
    """Pictures by digit."""
    by_digit: dict[int, list[bytes]] = {digit: [] for digit in range(10)}
    for index in digits().held_out[:_POOL]:
        by_digit[digits().values[index]].append(_png([index]))
    return by_digit


def _png(indices: list[int]) -> bytes:
    """One picture of several digits side by side."""
    parts = [picture(digits().scans[index]) for index in indices]
    whole = Image.new("RGB", (sum(part.width for part in parts), parts[0].height))
    for place, part in enumerate(parts):
        whole.paste(part, (place * part.width, 0))
    data = png_bytes(whole)
    SHOWN[digest(data)] = tuple(digits().values[index] for index in indices)
    return data


def one(rng: random.Random, digit: int) -> bytes:
    """A picture of `digit`."""
    return rng.choice(_pool()[digit])


def distinct(rng: random.Random, count: int) -> list[int]:
    """Different digits."""
    return rng.sample(range(10), count)


def feature(data: bytes | None) -> dict[str, Any] | None:
    """An image as the `datasets` library keeps it in parquet."""
    return None if data is None else {"bytes": data, "path": None}


def parquet(rows: list[Row], file: Path) -> None:
    """Write rows as one shard."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def _save(folder: Path, data: bytes) -> str:
    """Keep a picture under the benchmark's folder; its name."""
    name = f"{digest(data)[:12]}.png"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return name


def mantis(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        base = {"id": f"mantis_eval_{number}", "data_source": "digits"}
        if number % 3 == 0:
            shown = distinct(rng, 2)
            question = "Is the digit of <image> larger than that of <image>? Answer yes or no."
            answer, options = ("yes" if shown[0] > shown[1] else "no"), []
        elif number % 3 == 1:
            shown = distinct(rng, 3)
            # Fewer tags than images: the others belong in front.
            question, options = "Which image shows the largest digit? <image>", _places(3)
            answer = "ABC"[shown.index(max(shown))]
        else:
            shown = distinct(rng, 4)
            question, options = "Which option shows the largest digit?", ["<image>"] * 4
            answer = "ABCD"[shown.index(max(shown))]
        rows.append(
            base
            | {
                "question_type": "multi-choice" if options else "short-answer",
                "question": question,
                "images": [feature(one(rng, digit)) for digit in shown],
                "options": [f"({'ABCD'[i]}) {text}" for i, text in enumerate(options)],
                "answer": answer,
                "category": "comparison" if options else "pairs",
            }
        )
    parquet(rows, folder / "mantis_eval" / "test-00000-of-00001.parquet")


def _places(count: int, start: int = 0) -> list[str]:
    return [f"the {ORDINALS[place]} image" for place in range(start, start + count)]


def _blink_row(task: str, number: int, rng: random.Random) -> Row:
    kind = BLINK_TASKS.index(task) % 3
    if kind == 0:
        shown = distinct(rng, 4)
        question, choices = "Which image shows the largest digit?", _places(4)
        gold = shown.index(max(shown))
    elif kind == 1:
        reference, other = distinct(rng, 2)
        gold = rng.randrange(2)
        shown = [reference, *((other, reference) if gold else (reference, other))]
        question = "Which image shows the same digit as the first image?"
        choices = _places(2, start=1)
    else:
        wanted = distinct(rng, 4)
        gold = rng.randrange(4)
        shown = [wanted[gold]]
        question, choices = "Which digit does the image show?", [str(one) for one in wanted]
    listed = "".join(f"\n({'ABCD'[i]}) {text}" for i, text in enumerate(choices))
    pictures = [one(rng, digit) for digit in shown] + [None] * (4 - len(shown))
    return {
        "idx": f"val_{task}_{number + 1}",
        "question": question,
        "sub_task": task,
        **{f"image_{place + 1}": feature(data) for place, data in enumerate(pictures)},
        "choices": choices,
        "answer": f"({'ABCD'[gold]})",
        "prompt": f"{question}\nSelect from the following choices.{listed}",
        "explanation": "",
    }


def blink(folder: Path, count: int, rng: random.Random) -> None:
    for task in BLINK_TASKS:
        rows = [_blink_row(task, number, rng) for number in range(count // len(BLINK_TASKS))]
        parquet(rows, folder / task / "val-00000-of-00001.parquet")
        # The test split's answers are not published.
        hidden = [row | {"answer": "hidden"} for row in rows[:2]]
        parquet(hidden, folder / task / "test-00000-of-00001.parquet")


def mmiu(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        row = _blink_row(BLINK_TASKS[number % 3], number, rng)
        options = "\n".join(f"{'ABCD'[i]}: {text}" for i, text in enumerate(row["choices"]))
        cells = [row[f"image_{place}"] for place in range(1, 5)]
        names = [_save(folder / "2D-spatial", cell["bytes"]) for cell in cells if cell]
        rows.append(
            {
                "task": f"task_{number % 3}",
                "visual_input_component": "natural image",
                "source": "digits",
                "options": options,
                "question": row["question"],
                "context": f"Select from the following choices.\n{options}",
                "input_image_path": [f"./2D-spatial/{name}" for name in names],
                "output": row["answer"].strip("()"),
            }
        )
    parquet(rows, folder / "all.parquet")


def remi(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        shown = distinct(rng, 2)
        if number % 2:
            question = "Is the digit of <image1> larger than that of <image2>? Answer yes or no."
            label = "yes" if shown[0] > shown[1] else "no"
        else:
            question = "What digit does <image1> show, beside <image2>? Not <image2>, <image1>."
            label = str(shown[0])
        cells = [one(rng, digit) for digit in shown] + [None] * 4
        images = {f"image_{place + 1}": feature(data) for place, data in enumerate(cells)}
        rows.append({"question": question, "label": label, "task": f"T{number % 13}", **images})
    parquet(rows, folder / "test.parquet")
    parquet(rows[:3], folder / "train.parquet")


def muirbench(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        row = _blink_row(BLINK_TASKS[number % 3], number, rng)
        shown = [row[f"image_{place}"] for place in range(1, 5) if row[f"image_{place}"]]
        tags = "<image>" * len(shown)
        question, options = f"{tags} {row['question']}", row["choices"]
        if number % 3 == 0 and number % 2:
            question, options = row["question"], ["<image>"] * 4
        rows.append(
            {
                "idx": str(number),
                "task": f"Task {number % 12}",
                "image_relation": ("Multiview", "Temporal")[number % 2],
                "image_type": "photography",
                "question": question,
                "options": options,
                "answer": row["answer"].strip("()"),
                "image_list": shown,
                "counterpart_idx": str(number + 1),
            }
        )
    parquet(rows, folder / "data" / "test-00000-of-00001.parquet")


def mirb(folder: Path, count: int, rng: random.Random) -> None:
    tasks: dict[str, list[Row]] = {"analogy": [], "count": [], "foods": []}
    for number in range(count):
        shown = distinct(rng, 3)
        task = list(tasks)[number % 3]
        question, answer = "Which digit does the first image show?", str(shown[0])
        if task == "analogy":
            question = "Is the first digit larger than the second one? Answer yes or no."
            answer = "Yes" if shown[0] > shown[1] else "No"
        elif task == "foods":
            listed = "\n".join(f"{'ABC'[i]}. {text}" for i, text in enumerate(_places(3)))
            question = f"Which image shows the largest digit?\n{listed}"
            answer = "ABC"[shown.index(max(shown))]
        names = [_save(folder / "images" / task, one(rng, digit)) for digit in shown]
        images = [f"images/{task}/{name}" for name in names]
        tasks[task].append({"questions": question, "answers": answer, "images": images})
    for task, rows in tasks.items():
        (folder / f"{task}.json").write_text(json.dumps(rows), encoding="utf-8")


def mv_math(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        shown = distinct(rng, 4)
        answer_type = ("choice", "choice", "single-step", "multi-step")[number % 4]
        if answer_type == "choice":
            question = "Which option shows the largest digit?" + "".join(
                f"\n{letter}. <image_{place}>" for place, letter in enumerate("ABCD", start=1)
            )
            answer = "ABCD"[shown.index(max(shown))]
        else:
            shown = shown[:2]
            question = "<image_1><image_2> What digit does the image <image_1> show?"
            answer = str(shown[0])
        if answer_type == "multi-step":
            question = "<image_1> and <image_2>. (1) The digit of one. (2) That of the other."
            answer = f"(1) {shown[0]}; (2) {shown[1]}"
        names = [_save(folder / "images", one(rng, digit)) for digit in shown]
        rows.append(
            {
                "problem_id": number + 1,
                "question": question,
                "input_image": names,
                "is_multi_img": True,
                "answer": answer,
                "answer_type": answer_type,
                "difficulty": "low",
                "grade": "high",
                "subject": "Counting",
                "image_relavance": "1",
                "analysis": "",
            }
        )
    (folder / "data.json").write_text(json.dumps(rows), encoding="utf-8")


def mathvista(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        wanted = distinct(rng, 4)
        digit = wanted[rng.randrange(4)]
        data, precision, choices, question_type = one(rng, digit), None, None, "free_form"
        answer_type = ("text", "integer", "float", "list")[number % 4]
        question, answer = "What digit does the picture show?", str(digit)
        if answer_type == "text":
            choices, question_type = [str(one) for one in wanted], "multi_choice"
        elif answer_type == "float":
            question, answer = "What is the digit divided by ten?", f"{digit / 10:.1f}"
            precision = 1.0
        elif answer_type == "list":
            indices = rng.sample(digits().held_out, 2)
            data = _png(indices)
            question = "List the digits in the picture."
            answer = str([digits().values[index] for index in indices])
        rows.append(
            {
                "pid": str(number + 1),
                "question": question,
                "image": f"images/{number + 1}.png",
                "decoded_image": feature(data),
                "choices": choices,
                "unit": "apples" if answer_type == "integer" else None,
                "precision": precision,
                "answer": answer,
                "question_type": question_type,
                "answer_type": answer_type,
                "metadata": {"task": "figure question answering", "split": "testmini"},
                "query": question,
            }
        )
    parquet(rows, folder / "data" / "testmini-00000-of-00001.parquet")


def mathverse(folder: Path, count: int, rng: random.Random) -> None:
    versions = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    rows = []
    for number in range(count):
        wanted = distinct(rng, 4)
        gold = rng.randrange(4)
        version = versions[number % 5]
        multiple = number % 2 == 0 and version != "Vision Only"
        choices = "".join(f"\n{'ABCD'[i]}:{' ' + str(one)}" for i, one in enumerate(wanted))
        question = "What digit is shown?" + (f"\nChoices:{choices}" if multiple else "")
        rows.append(
            {
                "sample_index": str(number + 1),
                "problem_index": str(number // 5 + 1),
                "problem_version": version,
                "question": "" if version == "Vision Only" else question,
                "image": feature(one(rng, wanted[gold])),
                "answer": "ABCD"[gold] if multiple else str(wanted[gold]),
                "question_type": "multi-choice" if multiple else "free-form",
                "metadata": {"split": "testmini", "source": "digits", "subject": "Counting"},
                "query_wo": question,
                "query_cot": question,
                "question_for_eval": question,
            }
        )
    parquet(rows, folder / "testmini.parquet")


def mathvision(folder: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        indices = rng.sample(digits().held_out, 2)
        values = [digits().values[index] for index in indices]
        options: list[str] = []
        if number % 2:
            others = rng.sample([one for one in range(10) if one != values[0]], 4)
            gold = rng.randrange(5)
            others.insert(gold, values[0])
            options, answer = [str(one) for one in others], "ABCDE"[gold]
            question = "<image1> Which digit does the left picture show?"
        else:
            question = "Of <image1> and <image2>, which digit does <image1> show?"
            answer = f"{values[0]}.0"
        name = _save(folder / "images", _png(indices))
        rows.append(
            {
                "id": str(number + 1),
                "question": question,
                "options": options,
                "image": f"images/{name}",
                "answer": answer,
                "solution": None,
                "level": 1 + number % 5,
                "subject": "arithmetic",
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "test.jsonl").write_text(text, encoding="utf-8")


WRITERS: dict[str, Callable[[Path, int, random.Random], None]] = {
    "mantis-eval": mantis,
    "blink": blink,
    "mmiu": mmiu,
    "remi": remi,
    "mv-math": mv_math,
    "mathvista": mathvista,
    "mathverse": mathverse,
    "mathvision": mathvision,
    "muirbench": muirbench,
    "mirb": mirb,
}


def write_benchmark(name: str, folder: Path, count: int, seed: int = 0) -> Path:
    """Write about `count` questions of a benchmark into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[name](folder, count, random.Random(f"{name} {seed}"))
    return folder
