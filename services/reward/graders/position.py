"""Places of images: "first", "2", "2nd", "the second image", "image 2"."""

import re

from services.reward.graders.wrapping import unwrap
from shared.permutation import ORDINALS

_IMAGE = r"(?:image|picture|photo|figure|panel|option|one)"
_ORDINAL = "|".join(ORDINALS)
_PLACE = re.compile(
    rf"(?:the\s)?(?:({_ORDINAL})|(\d{{1,3}})(?:st|nd|rd|th))(?:\s{_IMAGE})?"
    rf"|(?:{_IMAGE}\s)?(?:\#\s?)?\(?(\d{{1,3}})\)?",
    re.IGNORECASE | re.ASCII,
)


def read_position(answer: str) -> str | None:
    """The place that the answer names, counted from 1, in digits; None when it names none."""
    text = " ".join(unwrap(answer).rstrip(".").split())
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    word, *numbers = match.groups()
    place = ORDINALS.index(word.lower()) + 1 if word else int(next(n for n in numbers if n))
    return str(place) if place >= 1 else None
