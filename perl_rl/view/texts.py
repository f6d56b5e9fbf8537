"""Texts and figures as the pages show them."""

import re
from datetime import datetime

from perl_rl.changes import pieces
from shared.sample import IMAGE_TAG

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that show nothing or turn the text around them: controls, direction marks, tags."""


def shown(text: str) -> str:
    """A text with hidden characters spelled out, so that what is seen is what is there."""
    return _HIDDEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text)


def figure(value: float | None, places: int = 2) -> str:
    """A number with so many decimals; a dash for none."""
    return "–" if value is None else f"{value:.{places}f}".replace("-", "\u2212")


def signed(value: float | None, places: int = 2) -> str:
    """A number with its sign."""
    return "–" if value is None else f"{value:+.{places}f}".replace("-", "\u2212")


def percent(value: float | None) -> str:
    """A share as per cent."""
    return "–" if value is None else f"{100 * value:.0f} %"


def count(value: int | None) -> str:
    """A whole number with spaces between thousands."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def moment(value: datetime | None) -> str:
    """A time in UTC."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def plain(question: str) -> str:
    """A question on one line, its image tags as a small square."""
    return " ".join(question.replace(IMAGE_TAG, "\u25a2").split())


Part = tuple[str, str, str]
"""``("same", text, "")``, ``("changed", text, what it was)`` or ``("image", place from 1, "")``."""


def question_parts(original: str, question: str) -> list[Part]:
    """A question in parts, the image tags numbered by their place."""
    parts: list[Part] = []
    place = 0
    for piece in pieces(original, question):
        if piece.changed:
            parts.append(("changed", piece.now, piece.before))
            place += piece.now.count(IMAGE_TAG)
            continue
        for number, text in enumerate(piece.now.split(IMAGE_TAG)):
            if number:
                place += 1
                parts.append(("image", str(place), ""))
            if text:
                parts.append(("same", text, ""))
    return parts
