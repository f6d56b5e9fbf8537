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
    r"|(?P<bare>[a-z])(?:\s?\((?![a-z]\))(?P<said>[^()]*)\)|\s?选?项)?)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_ANOTHER_LABEL = re.compile(r"\([a-z]\)|(?<![\w.])[a-z][.):](?!\w)", re.IGNORECASE | re.ASCII)

# "B (or C)" and "B (wrong)"; other text in brackets is the option's.
_TAKEN_BACK = re.compile(
    r"(?:(?:and\s|or\s|also\s|maybe\s|possibly\s|perhaps\s|[/&|,+]\s?|或|和)+(?:option\s)?[a-z]"
    r"|(?:(?:is|probably|maybe)\s)?(?:not\s(?:correct|right)|incorrect|wrong|rejected|eliminated"
    r"|excluded|ruled\sout|错误?|不对|不正确))",
    re.IGNORECASE,
)


def read_letter(answer: str) -> str | None:
    """The option that the answer names, as a capital letter; None when it names none or several."""
    text = " ".join(_unquoted(unwrap(unwrap(answer).replace("**", ""))).split())
    match = _ANSWER.fullmatch(text) or _ANSWER.fullmatch(text.removesuffix("."))
    if match is None or _ANOTHER_LABEL.search(match["rest"] or ""):
        return None
    if _TAKEN_BACK.fullmatch((match["said"] or "").strip()):
        return None
    return (match["marked"] or match["bare"]).upper()


def _unquoted(text: str) -> str:
    """The text without quotes; the prime of ``B'`` is none."""
    prime = len(text) > 1 and text.endswith("'") and text[0] not in QUOTES
    return text.lstrip(QUOTES) if prime else text.strip(QUOTES)
