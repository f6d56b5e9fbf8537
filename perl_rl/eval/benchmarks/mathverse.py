"""MathVerse: each problem in versions that say more in the text, or more in the picture."""

from perl_rl.eval.items import Benchmark, Item, padded_left
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.kinds.letter import read_letter
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

    The question lists its choices itself; of version "Vision Only" it is in the picture.
    """
    version = row.one_of("problem_version", _VERSIONS)
    kind = row.one_of("question_type", _TYPES)
    text = row.text("question", empty=version == "Vision Only") or _IN_THE_PICTURE
    images = () if version == "Text Only" else (pictures.keep(row.cell("image"), row, "image"),)
    answer = row.text("answer")
    letter = read_letter(answer) if kind == "multi-choice" else None
    if kind == "multi-choice" and letter is None:
        raise row.bad("answer", f"'{answer[:40]}' is no letter")
    return Item(
        Sample(
            id=row.text("sample_index"),
            question=padded_left(text, len(images), row, "question"),
            images=images,
            answer=letter or answer,
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
