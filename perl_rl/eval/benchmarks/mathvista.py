"""MathVista: mathematics in one picture; answers are choices, numbers, or lists of numbers."""

from perl_rl.eval.items import Benchmark, Item, ScoreRule, lettered, letters, padded_left
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.kinds.number import read_number
from shared.sample import AnswerKind, Sample

_QUESTION_TYPES = ("multi_choice", "free_form")
_ANSWER_TYPES = ("text", "integer", "float", "list")


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``pid, question, image, decoded_image, choices, unit, precision, answer`` and
    ``question_type, answer_type, metadata``."""
    question_type = row.one_of("question_type", _QUESTION_TYPES)
    answer_type = row.one_of("answer_type", _ANSWER_TYPES)
    choices = row.texts("choices") if question_type == "multi_choice" else []
    precision = _precision(row) if answer_type == "float" else 0
    answer, kind, rule = _gold(row, choices, answer_type)
    text = _text(row, choices, answer_type, precision)
    return Item(
        Sample(
            id=row.text("pid"),
            question=padded_left(text, 1, row),
            images=(pictures.keep_decoded(row),),
            answer=answer,
            kind=kind,
            source=_task(row),
        ),
        rule=rule,
        precision=precision,
        choices=tuple(choices),
        groups={"answer_type": answer_type, "question_type": question_type},
    )


def _gold(row: Row, choices: list[str], answer_type: str) -> tuple[str, AnswerKind, ScoreRule]:
    answer = row.text("answer")
    if choices:
        listed = letters(row, choices)
        if answer not in choices:
            problem = f"'{answer[:40]}' is none of the choices"
            raise row.bad("answer", "is none of the choices", problem)
        return listed[choices.index(answer)], "letter", "choice"
    if row.text("question_type") == "multi_choice":
        raise row.bad("choices", "is empty in a multi_choice question; list the choices")
    if answer_type in ("integer", "float"):
        if read_number(answer) is None:
            raise row.bad("answer", "is no number", f"'{answer[:40]}' is no number")
        return answer, "number", "truncated" if answer_type == "integer" else "rounded"
    return (answer, "math", "list") if answer_type == "list" else (answer, "text", "kind")


def _precision(row: Row) -> int:
    value = row.cell("precision")
    if not isinstance(value, int | float) or value != int(value) or not 0 <= value <= 12:
        reason = "must be a number of decimals"
        raise row.bad("precision", reason, f"{reason}, not {value!r}")
    return int(value)


def _text(row: Row, choices: list[str], answer_type: str, precision: int) -> str:
    question, unit = row.text("question"), row.text("unit", empty=True)
    if unit:
        question += f" (unit: {unit})"
    if choices:
        return question + lettered(choices)
    hints = {
        "integer": "\nThe answer is a whole number.",
        "float": f"\nThe answer is a number with {precision} decimal places.",
        "list": "\nThe answer is a list such as [1, 2].",
        "text": "",
    }
    return question + hints[answer_type]


def _task(row: Row) -> str:
    metadata = row.values.get("metadata")
    task = metadata.get("task") if isinstance(metadata, dict) else None
    return task if isinstance(task, str) and task else "all"


BENCHMARK = Benchmark(
    name="mathvista",
    title="MathVista",
    split="testmini",
    published=1000,
    average="micro",
    compares="the letter, else the choice that the reply names; integers without decimals, other "
    "numbers rounded to the asked precision; lists",
    to_item=to_item,
)
