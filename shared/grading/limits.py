"""How much of an untrusted text is read at all."""

MAX_RESPONSE_CHARS = 200_000
"""Longer responses count as malformed and without an answer."""

MAX_ANSWER_CHARS = 2_000
"""Longer answers count as no answer."""
