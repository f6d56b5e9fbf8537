"""Finds the names of images in an answer: one name, or a list in the order to recover.

A list gives the images in the recovered order: "2, 3, 1" means that the image shown second comes
first. Each element names an image and follows it when images move. A list of ranks ("the image
shown first comes second, ...") asks something else: such a sample must not have an order rule.
"""

import re

from shared.permutation.names import ORDINALS, Atom, Names, read_name
from shared.sample import OrderRule

_NOUN = r"(?:images?|pictures?|photos?|photographs?|figures?|fig\.?|options?|panels?|frames?)"
_PLACE = rf"(?:\d{{1,3}}(?:st|nd|rd|th)?|{'|'.join(ORDINALS)}|last|left(?:most)?|right(?:most)?)"
_POSITION = re.compile(
    rf"\s*(?:the\s+)?(?:(?:{_NOUN}|图片?|第)\s*)?[#(]?(?P<token>{_PLACE}|[一二三四五六七八九十左右])\)?"
    rf"(?:\s+(?:{_NOUN}|one))?(?:[张幅])?(?:图片?)?\.?\s*",
    re.I,
)
_LETTER = re.compile(
    rf"\s*(?:(?:the\s+)?(?:{_NOUN}|choice)\s+)?[(（\[]?(?P<token>[A-Z])[)）\].:．]?\s*", re.I
)
_ELEMENT = (
    rf"(?:(?:the\s+)?(?:{_NOUN}|图片?)\s*)?[#(]?(?P<token>\d{{1,2}}(?:st|nd|rd|th)?|[A-Za-z]"
    rf"|{'|'.join(ORDINALS)}|[一二三四五六七八九十])\)?(?:\s+{_NOUN})?"
)
# Each blank can match in one way only, because answers of models are matched too: untrusted text
# must not cause backtracking.
_SEPARATOR = (
    r"(?:\s*(?:,(?:\s*\b(?:and|then)\b)?|;|->|→|=>|[<>]|[-–—/、，；])\s*"
    r"|\s+(?:and|then)\s+|\s+(?![-–—/、，；<>→=]))"
)
_ELEMENTS = re.compile(rf"(?<![A-Za-z0-9]){_ELEMENT}(?![A-Za-z0-9])", re.I)
_NAMELESS = re.sub(r"\?P<token>", "?:", _ELEMENT)
_LIST = re.compile(
    rf"\s*[\[(<{{]?\s*{_NAMELESS}(?:{_SEPARATOR}{_NAMELESS})+\s*[\])>}}]?\.?\s*", re.I
)
_COMPACT = re.compile(r"\s*([A-Z]{2,}|[1-9]{2,})\s*")


def answer_atoms(answer: str, names: Names, rule: OrderRule) -> list[Atom]:
    """The atoms of an answer under `rule`; none when it has another form or names no slot."""
    if rule == "order":
        return order_atoms(answer, names)
    if rule == "invariant":
        return []
    match = (_LETTER if rule == "letter" else _POSITION).fullmatch(answer)
    atoms = [] if match is None else _atoms([(match.start("token"), match["token"])], names, rule)
    # With more slots than names, an image could move to a slot without a name.
    return atoms if all(names.names_all(atom.name) for atom in atoms) else []


def order_atoms(answer: str, names: Names) -> list[Atom]:
    """The atoms of a list of at least two different images in one style; none for other text."""
    if compact := _COMPACT.fullmatch(answer):
        tokens = [(compact.start(1) + place, one) for place, one in enumerate(compact[1])]
        atoms = _atoms(tokens, names, "order")
        return atoms if {atom.slot for atom in atoms} >= names.movable else []
    if _LIST.fullmatch(answer) is None:
        return []
    tokens = [(one.start("token"), one["token"]) for one in _ELEMENTS.finditer(answer)]
    atoms = _atoms(tokens, names, "order")
    different = len({atom.slot for atom in atoms}) == len(atoms)
    alike = len({atom.name.style for atom in atoms}) == 1
    covered = all(names.names_all(atom.name) for atom in atoms)
    return atoms if len(atoms) > 1 and different and alike and covered else []


def _atoms(tokens: list[tuple[int, str]], names: Names, rule: OrderRule) -> list[Atom]:
    """The atoms of all tokens; none at all when a token names no slot."""
    atoms = []
    for start, token in tokens:
        name = read_name(token, names.count)
        slot = None if name is None else names.slot(name)
        if name is None or slot is None or (rule == "position" and name.family == "letter"):
            return []
        if rule == "letter" and slot in names.fixed:
            return []
        atoms.append(Atom(start, start + len(token), name, slot))
    return atoms
