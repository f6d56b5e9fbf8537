"""Tells from the columns of a row which data format it probably has, for hints in messages."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # The configuration imports samples, and they import this module.
    from shared.config.source import SourceConfig

_QUESTIONS = ("problem", "prompt", "question", "query", "instruction", "text", "input")
_ANSWERS = (
    *("answer", "answers", "solution", "ground_truth", "gold", "label", "target", "final_answer"),
    "output",
)
_PICTURES = ("images", "image", "pictures", "image_path", "image_paths", "img", "imgs", "photos")

_COLUMNS: dict[str, set[str]] = {
    "samples": {"question", "answer", "kind"},
    "verl": {"prompt", "reward_model"},
    "geometry3k": {"problem", "answer", "images"},
    "mmk12": {"question", "answer", "image"},
    "virl39k": {"question", "answer", "image"},
}
"""What each row of a format has."""

Shape = tuple[str, dict[str, str]]
"""A format, and for `easyr1` those of its ``keys`` that are not the defaults."""


def shape_of(values: Mapping[str, Any]) -> Shape | None:
    """The format that a row's columns are those of; None when no format has such columns."""
    names = values.keys()
    if "conversation" in names or "conversations" in names:
        return "mantis", {}
    if "reward_model" in names or ("prompt" in names and _is_turns(values["prompt"])):
        return "verl", {}
    if {"question", "answer"} <= names:
        if "kind" in names:
            return "samples", {}
        if "qid" in names or any(name.startswith("PassRate") for name in names):
            return "virl39k", {}
        if "subject" in names and "image" in names:
            return "mmk12", {}
    return _flat(values)


def other_shape(values: Mapping[str, Any], source: "SourceConfig") -> str:
    """What a row looks like that lacks columns of its source's format; empty when it has them, or
    when nobody can tell."""
    shape = shape_of(values)
    if shape is None or _has_columns(values, source):
        return ""
    if shape[0] != source.format:
        return f"this looks like format {in_words(shape)}, not {source.format} (docs/data.md)"
    named = ", ".join(f"{key}: {name}" for key, name in shape[1].items())
    return f"write keys: {{{named}}}" if named else ""


def in_words(shape: Shape) -> str:
    """ "easyr1 with keys {prompt: question}"."""
    format_, keys = shape
    named = ", ".join(f"{key}: {name}" for key, name in keys.items())
    return format_ + (f" with keys {{{named}}}" if named else "")


def _has_columns(values: Mapping[str, Any], source: "SourceConfig") -> bool:
    """Whether a row has the columns that its source's format reads."""
    if source.format == "mantis":
        return "images" in values and bool({"conversation", "conversations"} & values.keys())
    if source.format != "easyr1":
        return _COLUMNS[source.format] <= values.keys()
    keys = source.keys
    prompt = keys.prompt or ("problem" if "problem" in values else "prompt")
    needed = {prompt, keys.answer} | ({keys.images} if keys.images else set())
    return needed <= values.keys() and not _is_turns(values[prompt])


def _flat(values: Mapping[str, Any]) -> Shape | None:
    question, answer = _first(_QUESTIONS, values), _first(_ANSWERS, values)
    if question is None or answer is None:
        return None
    pictures, keys = _first(_PICTURES, values), dict[str, str]()
    if question not in ("problem", "prompt"):
        keys["prompt"] = question
    if pictures not in (None, "images"):
        keys["images"] = str(pictures)
    if answer != "answer":
        keys["answer"] = answer
    return "easyr1", keys


def _first(names: Iterable[str], values: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in values), None)


def _is_turns(value: Any) -> bool:
    """Whether a value is a list of chat turns, also as a struct of lists."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, dict) for one in value)
    return isinstance(value, dict) and bool({"role", "from"} & value.keys())
