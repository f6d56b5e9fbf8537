"""Short texts: equal when they differ in nothing but case, spacing, quotes and a full stop."""

import unicodedata

from services.reward.graders.wrapping import unwrap

QUOTES = "\"'“”‘’«»"
"""Marks around an answer that are no part of it."""


def read_text(answer: str) -> str | None:
    """The text as it is compared; None when nothing is left of it."""
    text = unicodedata.normalize("NFKC", unwrap(answer)).casefold()
    text = " ".join(text.split()).strip(QUOTES).rstrip(".!").strip(QUOTES)
    return text.strip() or None


def read_exact(answer: str) -> str | None:
    """The text as it is, but for white space around it; None when it is empty."""
    return answer.strip() or None
