"""Yes or no: "true", "yes", "correct", 对 and 是, or "false", "no", "incorrect", 错 and 否."""

import re

from shared.grading.kinds.text import read_text

_TRUE = "true|yes|correct|right|t|y|对|是|是的|正确|对的|√|✓|✔"
_FALSE = (
    "false|no|incorrect|wrong|f|n|not true|not correct|错|否|不|不是|不对|错误|错的|不正确|×|✗|✘"
)
_WORDS = dict.fromkeys(_TRUE.split("|"), "true") | dict.fromkeys(_FALSE.split("|"), "false")
_LEAD = re.compile(r"^(?:(?:(?:the|this|that) )?(?:statement|claim|answer)|it|this|that) is ")
# "Yes, both are." but not "Yes or no" and not "No idea".
_SENTENCE = re.compile(r"(yes|no|true|false|correct|incorrect|是的?|否|不是|对|错)\s?[,.:;]\s?(.*)")
_PLAIN_WORD = re.compile(r"\b(?:yes|no|true|false|correct|incorrect)\b")


def read_boolean(answer: str) -> str | None:
    """``true`` or ``false``; None when the answer says neither or both."""
    text = _LEAD.sub("", read_text(answer) or "") or None
    if text is None or text in _WORDS:
        return _WORDS.get(text or "")
    match = _SENTENCE.fullmatch(text)
    if match is None:
        return None
    said = {_WORDS[match[1]], *(_WORDS[word] for word in _PLAIN_WORD.findall(match[2]))}
    return said.pop() if len(said) == 1 else None
