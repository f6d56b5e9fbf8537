"""Places of images: "first", "2", "2nd", "the second image", "image 2", "第二张图"."""

import re

from shared.grading.kinds.wrapping import unwrap
from shared.permutation.names import CHINESE, ORDINALS

_IMAGE = r"(?:image|picture|photo|figure|panel|option|one)"
_ORDINAL = "|".join(ORDINALS)
_PLACE = re.compile(
    rf"(?:the\s)?(?:(?P<word>{_ORDINAL})|(?P<nth>\d{{1,3}})(?:st|nd|rd|th))(?:\s{_IMAGE})?"
    rf"|(?:(?:the\s)?{_IMAGE}\s)?(?:\#\s?)?\(?(?P<bare>\d{{1,3}})\)?"
    rf"|(?:第|图片?)\s?(?:(?P<numeral>[{''.join(CHINESE)}])|(?P<digits>\d{{1,3}}))\s?"
    r"[张幅个]?(?:图片?|照片|图像)?",
    re.IGNORECASE | re.ASCII,
)


def read_position(answer: str) -> str | None:
    """The place that the answer names, in digits, counted from 1; None when it names none."""
    text = " ".join(unwrap(answer).rstrip(".").split())
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    if match["word"]:
        place = ORDINALS.index(match["word"].lower()) + 1
    elif match["numeral"]:
        place = CHINESE.index(match["numeral"]) + 1
    else:
        place = int(match["nth"] or match["bare"] or match["digits"])
    return str(place) if place >= 1 else None
