"""Says whether the answer of an invariant question names an image, so that it would not stay true.

The answer is read as the question is, and in doubt it names an image. Where the question asks
which image, a bare "2", "B", "left" or "the second" is a name too.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from shared.permutation.answers import answer_atoms, order_atoms
from shared.permutation.bare import bare_atoms
from shared.permutation.bare_answers import stands_for_an_image
from shared.permutation.chinese import chinese_atoms
from shared.permutation.doubts import refuse_doubtful
from shared.permutation.english import CORE, LOOSE, ORDINAL, PRONOUN_ENDS
from shared.permutation.mentions import english_atoms
from shared.permutation.names import Atom, Refused, read_name
from shared.permutation.options import ASKED, ORDERING, Option, refuse_bare_letters
from shared.permutation.slots import Slots
from shared.sample import AnswerKind

_NOUN = rf"(?:{CORE}|{LOOSE})"
# Between two names of images of which one is asked for: "image 1 or the second image".
_OR = re.compile(
    rf"[ \t,)）]*(?:or|还是|或)[ \t]*(?:in[ \t]+)?(?:the[ \t]+)?(?:{_NOUN}|第|图)?[ \t#(（]*", re.I
)
_TOKEN = re.compile(
    rf"(?<![\w.,$+\-*/=^])(?P<token>\d{{1,2}}|{ORDINAL}|(?-i:[A-H])|left(?:most)?|right(?:most)?|[①-⑩])"
    rf"(?:st|nd|rd|th)?(?!\w)(?={PRONOUN_ENDS}|[ \t]+ones?\b|[)）\]*}}\"'。，、$])",
    re.I,
)
_EITHER_SIDE = re.compile(
    r"\bthe[ \t]+(?:left|right)(?:[ \t]+one)?[ \t]+or[ \t]+(?:the[ \t]+)?(?:left|right)\b", re.I
)
_CHINESE = re.compile(
    r"[ \t]*第?[ \t]*(?P<token>[一二三四五六七八九十]|\d{1,2}|[左右])"
    r"[ \t]*[边邊侧側张張幅个個]?[ \t]*[。.]?[ \t]*"
)
_PLACE = re.compile(rf"[ \t]*(?:the[ \t]+)?{ORDINAL}(?:[ \t]+one)?[ \t]*\.?[ \t]*", re.I)
_RELATIVE = re.compile(
    r"\bin[ \t]+(?:\w+[ \t]+){0,2}order\b|\bthe[ \t]+(?:former|latter)\b|前者|后者|後者", re.I
)
_LETTERS = re.compile(
    r"[ \t]*(?:(?:option|choice|选项)[ \t]*)?[(（\[]?"
    r"(?P<letters>[A-Z](?:[ \t]*[,、，/&]?[ \t]*[A-Z])*)"
    r"[)）\]]?[ \t]*[.:：．]?[ \t]*"
)
_OPTION_PREFIX = re.compile(r"[ \t]*(?:[(（\[][A-Z][)）\]]|[A-Z][.:：．)])[ \t]*(?=\S)")


def names_an_image(
    answer: str, kind: AnswerKind, options: Sequence[Option], slots: Slots, atoms: Sequence[Atom]
) -> bool:
    """Whether `answer` names an image.

    Args:
        options: the question's text options; their letters name no images.
        slots: the question's text and labels.
        atoms: the names in the question.
    """
    if stands_for_an_image(answer, kind, bool(options), slots, len(atoms)):
        return True
    if letters := _LETTERS.fullmatch(answer):
        return _are_images(set(re.findall("[A-Z]", letters["letters"])), kind, options, slots)
    if options:
        answer = _OPTION_PREFIX.sub("", answer, count=1)
    if kind == "position" and answer_atoms(answer, slots.names, "position"):
        return True
    ordering = kind == "order" or ORDERING.search(slots.text) is not None
    if ordering and order_atoms(answer, slots.names):
        return True
    named = _PLACE.fullmatch(answer) is not None and _slot(_TOKEN.search(answer), slots)
    if named or _RELATIVE.search(answer) or _reads_a_name(answer, kind, slots, atoms):
        return True
    return _asks_for_an_image(slots.text, atoms) and (
        _slot(_CHINESE.fullmatch(answer), slots)
        or any(
            _slot(token, slots)
            for token in _TOKEN.finditer(answer)
            if not (options and token["token"].isupper())
        )
    )


def _are_images(
    letters: set[str], kind: AnswerKind, options: Sequence[Option], slots: Slots
) -> bool:
    """Whether an answer of letters only names images, and not text options."""
    if options:
        return "letter" in slots.bare
    known = {chr(ord("A") + value - 1) for value in slots.names.slots["letter"]}
    if slots.lettered or ASKED.search(slots.text):
        return bool(letters & known) or not known
    listed = all(re.search(rf"(?<![A-Za-z]){one}(?![A-Za-z])", slots.text) for one in letters)
    return kind == "letter" and not listed and letters <= known


def _reads_a_name(answer: str, kind: AnswerKind, slots: Slots, atoms: Sequence[Atom]) -> bool:
    """Whether one of the modules that read questions finds a name in the answer, or a doubt."""
    try:
        found = [*english_atoms(answer, slots, False), *chinese_atoms(answer, slots, False)]
        if kind != "steps":
            found += bare_atoms(answer, [Option(0, 0, len(answer))], slots, found)
            refuse_bare_letters(answer, slots, found)
        refuse_doubtful(answer, slots, found)
    except Refused as refused:
        # The images of "3 and 4 respectively" are those that the question lists.
        listed = refused.text.lower() == "respectively" and len(atoms) > 1
        return not listed
    return bool(found)


def _asks_for_an_image(text: str, atoms: Sequence[Atom]) -> bool:
    if ASKED.search(text) or _EITHER_SIDE.search(text):
        return True
    return any(_OR.fullmatch(text, one.end, other.start) for one, other in pairwise(atoms))


def _slot(match: re.Match[str] | None, slots: Slots) -> bool:
    """Whether the token of `match` names a slot."""
    if match is None:
        return False
    name = read_name(match["token"], slots.names.count)
    return name is not None and slots.names.slot(name) is not None
