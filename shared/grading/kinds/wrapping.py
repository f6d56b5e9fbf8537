r"""Removes wrapping that does not change an answer: ``$..$``, ``\text{..}``, ``**..**``.

Every kind except ``exact`` does this before it reads the answer.
"""

import re

# Commands whose argument is the answer. Only an argument without braces is unwrapped, so that one
# pass over the text takes linear time.
_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|boldsymbol|bm|mbox"
    r"|hbox|boxed|underline|emph|fbox|(?:textcolor|colorbox|color)\s?\{[^{}]*\})\s?\{([^{}]*)\}"
)
_COLOR = re.compile(r"\\color\s?\{[^{}]*\}(?!\s?\{)\s?")
# A full stop after one of these ends a sentence; after words it is left to the kinds.
_CLOSING = ("$", "`", "*", "\\)", "\\]")
_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))
# Full-width letters, digits and signs, as Chinese and Japanese keyboards type them. NFKC would also
# turn the square in "3 cm²" into a digit.
_NARROW: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_NARROW |= {0x3000: " ", 0x00A0: " ", 0x3002: ".", 0x3010: "[", 0x3011: "]", 0x2212: "-"}


def unwrap(answer: str) -> str:
    """The answer without wrapping and outer white space, in half-width characters.

    Every round removes at least two characters, and answers are short (``limits.py``).
    """
    text = _COLOR.sub("", answer.translate(_NARROW)).strip()
    while (inner := _COMMAND.sub(r"\1", _without_pair(text)).strip()) != text:
        text = inner
    # The rest of a LaTeX space at the end of a box.
    return text.rstrip("\\").rstrip()


def without_pairs(answer: str) -> str:
    """As `unwrap`, but commands such as ``\\text{..}`` stay."""
    text = answer.translate(_NARROW).strip()
    while (inner := _without_pair(text)) != text:
        text = inner
    return text


def _without_pair(text: str) -> str:
    text = _without_end(text)
    for left, right in _PAIRS:
        long_enough = len(text) > len(left) + len(right)
        if long_enough and text.startswith(left) and text.endswith(right):
            return text[len(left) : -len(right)].strip()
    return text


def _without_end(text: str) -> str:
    """The text without the comma, semicolon or full stop that goes on with the sentence."""
    text = text.rstrip()
    while text.endswith((",", ";")) or (text.endswith(".") and text[:-1].endswith(_CLOSING)):
        text = text[:-1].rstrip()
    return text
