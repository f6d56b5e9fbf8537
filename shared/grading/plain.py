r"""Prose without its markup, for answers in words: no ``**``, ``$``, ``\text{..}``, full width."""

import re

_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|boldsymbol|bm|mbox|operatorname"
    r"|fbox|underline|emph)\s?\{([^{}]*)\}"
)
_MARKUP = re.compile(
    r"\*+|__+|[`$]|\\[()\[\]]|\\(?:left|right|rm|bf|it|tt)(?![a-z])|</?(?:b|i|u|strong|em)>"
)
_SPACES = re.compile(r"\\(?:quad|qquad|[,;:! ])|~|\\+(?=\s|$)|[^\S\n]+")
# Full-width signs as half-width ones; the Chinese full stop and comma between items stay.
_NARROW: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_NARROW |= {ord("【"): "[", ord("】"): "]", ord("「"): '"', ord("」"): '"', ord("’"): "'"}
_MOST_NESTED = 3


def plain(text: str) -> str:
    """The text without markup, every run of blanks as one space; line breaks stay."""
    text = text.translate(_NARROW)
    for _ in range(_MOST_NESTED):
        if "\\" not in text:
            break
        text = _COMMAND.sub(r"\1", text)
    return _SPACES.sub(" ", _MARKUP.sub("", text))
