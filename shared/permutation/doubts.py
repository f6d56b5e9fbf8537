"""Words that mean an image by its place in a way that nothing here rewrites: the sample is refused.

What is missed here would be a question that says something else once the images have moved.
"""

import re
from collections.abc import Iterable

from shared.permutation.names import CARDINALS, ORDINALS, Atom, Refused, read_name
from shared.permutation.slots import Slots

_G = r"[ \t]"
_NOUN = r"(?:images?|pictures?|pics?|photos?|photographs?|imgs?|figures?|figs?\.?)(?![\w-])"
_ORDINAL = rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last)"
_SPOT = r"(?:position|place|slot|spot)"
_NAME = r"(?:\d{1,2}|(?-i:[A-H]))\b"

_DOUBTFUL: list[tuple[str, str]] = [
    # The second-to-last image, the last but one picture
    (
        "unclear_place",
        rf"\b(?:penultimate|{_ORDINAL}[ \t-]to[ \t-](?:the[ \t-])?last|(?!last){_ORDINAL}[ \t-]last"
        rf"|last{_G}+but{_G}+\w+){_G}+{_NOUN}",
    ),
    # Every other image, the two first images
    ("set_of_images", rf"\b(?:every|each){_G}+(?:other|{_ORDINAL}){_G}+{_NOUN}"),
    ("set_of_images", rf"\b(?:{'|'.join(CARDINALS[1:])}|\d{{1,2}}){_G}+(?:first|last){_G}+{_NOUN}"),
    # The image in the second position, the picture at place 2
    (
        "unclear_place",
        rf"\b{_NOUN}[^.?!\n]{{0,30}}\b(?:in|at|on){_G}+(?:the{_G}+)?"
        rf"(?:{_ORDINAL}{_G}+{_SPOT}|{_SPOT}{_G}+(?:number{_G}+)?{_NAME})",
    ),
    # The image shown second, the picture you see first
    (
        "unclear_place",
        rf"\b{_NOUN}{_G}+(?:(?:that|which){_G}+)?(?:(?:is|was){_G}+)?"
        rf"(?:shown|displayed|presented|listed|placed|given|(?:you|we){_G}+(?:see|saw)){_G}+{_ORDINAL}\b",
    ),
    # The image labelled B, the B image, image (b), image b
    (
        "unclear_name",
        rf"\b{_NOUN}{_G}+(?:(?:that|which){_G}+is{_G}+)?(?:labell?ed|marked|numbered|tagged|called)"
        rf"(?:{_G}+(?:as|with))?{_G}+[\"'“‘(]?{_NAME}",
    ),
    ("unclear_name", rf"(?:\b(?:the|and|or)|,){_G}+(?-i:[A-H]){_G}+{_NOUN}"),
    ("unclear_name", rf"\b{_NOUN}{_G}*(?:[(\[](?-i:[a-h])[)\]]|{_G}(?-i:[b-h])(?![\w'’(.]))"),
    # Compare image 1 with 3
    (
        "unclear_name",
        rf"\b{_NOUN}{_G}*[#(]?{_NAME}\)?{_G}+(?:with|against){_G}+#?{_NAME}(?={_G}*(?:[.,;:?!)\n]|$))",
    ),
]
_PATTERNS = [(reason, re.compile(pattern, re.I)) for reason, pattern in _DOUBTFUL]
_HASH = re.compile(r"(?<!\w)#[ \t]?(?P<token>\d{1,2})\b")


def refuse_doubtful(text: str, slots: Slots, atoms: Iterable[Atom]) -> None:
    """Look for them in `text` (tags and labels blanked), in which `atoms` are rewritten.

    Raises:
        Refused: naming the words.
    """
    for reason, pattern in _PATTERNS:
        if match := pattern.search(text):
            raise Refused(reason, match.group())
    starts = {atom.start for atom in atoms}
    for match in _HASH.finditer(text):
        name = read_name(match["token"], slots.names.count)
        known = name is not None and slots.names.slot(name) is not None
        if known and match.start("token") not in starts:
            raise Refused("unclear_name", match.group())
