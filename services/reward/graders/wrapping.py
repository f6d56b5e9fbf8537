r"""Takes off what surrounds an answer without changing it: ``$..$``, ``\text{..}``, ``**..**``.

Used by every grader before it reads the answer.
"""

import re

# Commands whose argument is the answer itself. Only an argument without braces is unwrapped, so
# that one pass over the text is enough and cost stays linear.
_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|boldsymbol|bm|mbox|boxed)\s?"
    r"\{([^{}]*)\}"
)
_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))
_MOST_LAYERS = 4


def unwrap(answer: str) -> str:
    """The answer without its wrapping and without white space around it."""
    text = answer.strip()
    for _ in range(_MOST_LAYERS):
        inner = _unwrap_once(text)
        if inner == text:
            break
        text = inner
    return text


def _unwrap_once(text: str) -> str:
    for left, right in _PAIRS:
        long_enough = len(text) > len(left) + len(right)
        if long_enough and text.startswith(left) and text.endswith(right):
            return text[len(left) : -len(right)].strip()
    return _COMMAND.sub(r"\1", text).strip()
