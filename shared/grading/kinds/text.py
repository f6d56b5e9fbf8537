"""Short texts: equal when they differ only in case, spacing, quotes, dashes and a full stop."""

import unicodedata

from shared.grading.kinds.wrapping import unwrap

# Typographic apostrophes and dashes are the keyboard's.
_PLAIN = str.maketrans("’‘‐–—", "''---")

QUOTES = "\"'“”‘’«»"
"""Marks around an answer that are no part of it."""


def read_text(answer: str) -> str | None:
    """The text as it is compared; None when nothing is left of it."""
    text = unicodedata.normalize("NFKC", unwrap(answer)).casefold().translate(_PLAIN)
    text = " ".join(text.split()).strip(QUOTES).rstrip(".!").strip(QUOTES)
    return text.strip() or None


def read_exact(answer: str) -> str | None:
    """The text as it is, but for white space around it; None when it is empty."""
    return answer.strip() or None
