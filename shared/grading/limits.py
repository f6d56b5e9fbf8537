"""Limits on the length of untrusted texts."""

MAX_RESPONSE_CHARS = 200_000
"""Longer responses count as malformed and without an answer."""

MAX_ANSWER_CHARS = 2_000
"""Longer answers are not read, and count as no answer."""
