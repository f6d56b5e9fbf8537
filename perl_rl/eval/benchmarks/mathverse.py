"""MathVerse: each problem in versions that say more in the text, or more in the picture."""

from perl_rl.eval.items import Benchmark, Item, any_letter, padded_left
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample

_VERSIONS = (
    "Text Dominant",
    "Text Lite",
    "Text Only",
    "Vision Intensive",
    "Vision Dominant",
    "Vision Only",
)
_TYPES = ("multi-choice", "free-form")
_IN_THE_PICTURE = "Answer the question that the image shows."


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``sample_index, problem_version, question, image, answer, question_type``.

    The question's text lists the choices; in version "Vision Only" the picture holds both.
    """
    version = row.one_of("problem_version", _VERSIONS)
    kind = row.one_of("question_type", _TYPES)
    text = row.text("question", empty=version == "Vision Only") or _IN_THE_PICTURE
    images = () if version == "Text Only" else (pictures.keep(row.cell("image"), row, "image"),)
    letter = any_letter(row, "answer") if kind == "multi-choice" else None
    return Item(
        Sample(
            id=row.text("sample_index"),
            question=padded_left(text, len(images), row),
            images=images,
            answer=letter or row.text("answer"),
            kind="letter" if letter else "math",
            source=version,
        ),
        groups={"question_type": kind},
    )


BENCHMARK = Benchmark(
    name="mathverse",
    title="MathVerse",
    split="testmini",
    published=3940,
    average="micro",
    compares="letters; expressions by equivalence",
    to_item=to_item,
)
