r"""Letters of options: ``B``, ``b``, ``(B)``, ``B.``, ``B. cat``, ``\text{B}``, "Option B".

The project has its own rule because maths graders find ``B.`` and ``B`` different, and extractors
that look for the first letter find the B of "boxed" or the T of "The".
"""

import re

from shared.grading.kinds.text import QUOTES
from shared.grading.kinds.wrapping import unwrap

_LEAD = (
    r"(?:(?:the\s)?(?:(?:final|correct|right|best)\s)?"
    r"(?:answer|option|choice|image|picture|figure)(?:\sis)?\s?:?\s?"
    r"|(?:(?:正确)?答案|选项?|应?选择?)\s?[是为]?\s?:?\s?){0,2}"
)
# "(B)", "B." and "B)" mark a letter as a label, and text may follow. A bare letter must stand alone
# or with its text in brackets, because the "A" of "A cat" may be an article.
_ANSWER = re.compile(
    _LEAD + r"(?:[(\[{]?(?P<marked>[a-z])"
    r"(?:[)\]}:]|\.(?![a-z](?:\W|$))|、(?!\s?[a-z](?:\W|$))|\s[-–—]\s(?![a-z]\W?$))(?P<rest>.*)"
    r"|(?P<bare>[a-z])(?:\s?\((?![a-z]\))[^()]*\))?)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_ANOTHER_LABEL = re.compile(r"\([a-z]\)|(?<![\w.])[a-z][.):](?!\w)", re.IGNORECASE | re.ASCII)


def read_letter(answer: str) -> str | None:
    """The option that the answer names, as a capital letter; None when it names none or several."""
    text = " ".join(unwrap(unwrap(answer).replace("**", "")).strip(QUOTES).split())
    match = _ANSWER.fullmatch(text) or _ANSWER.fullmatch(text.removesuffix("."))
    if match is None or _ANOTHER_LABEL.search(match["rest"] or ""):
        return None
    return (match["marked"] or match["bare"]).upper()
