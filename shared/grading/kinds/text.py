"""Short texts: case, spaces, quotes, dashes, a first article and a full stop do not count."""

import re
import unicodedata

from shared.grading.kinds.wrapping import unwrap

# Typographic apostrophes and dashes become the plain ones.
_PLAIN = str.maketrans("’‘‐–—", "''---")

QUOTES = "\"'“”‘’«»"
"""Marks around an answer that are not part of it."""

# "a kitten" and "the y-axis", but not "a" and not "a b".
_ARTICLE = re.compile(r"^(?:an?|the)\s(?=\w\w|\w-\w\w)")


def read_text(answer: str) -> str | None:
    """The text in the form for comparison; None when that is empty."""
    text = unicodedata.normalize("NFKC", unwrap(answer)).casefold().translate(_PLAIN)
    text = " ".join(text.split()).strip(QUOTES).rstrip(".!").strip(QUOTES)
    return _ARTICLE.sub("", text.strip()) or None


def read_exact(answer: str) -> str | None:
    """The text without white space around it; None when it is empty."""
    return answer.strip() or None
