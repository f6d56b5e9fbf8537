r"""The option that a piece of prose names at its start: one, several, or none.

``B``, ``(B)``, ``B. a cat``, "option B", ``B项``, "B, because ..." name one. "A or B", ``(A), (B)``
and "A. a cat, B. a dog" name several. "A cat" names none: a bare letter counts only before the end,
a punctuation mark or a word that cannot continue an article or an initial.

Prose is plain here (``plain.py``). All patterns are anchored or bounded: time is linear.
"""

import re
from dataclasses import dataclass

_NOUNS = (
    r"(?:(?:the\s)?(?:(?:correct|right|best|final|only)\s)?\b"
    r"(?:options?|choices?|letters?|answers?|images?|pictures?|photos?|figures?|diagrams?|graphs?"
    r"|shapes?|panels?|points?|objects?|items?|lines?|candidates?|statements?|groups?|regions?"
    r"|positions?|rows?|paths?|curves?|blocks?|boxe?s?|labell?ed|label|marked|number"
    r"|(?:best\s|most\sclosely\s)?(?:given|shown|indicated|represented|described|depicted|denoted)"
    r"\s(?:by|in|as))(?![a-z])\s?:?\s?"
    r"|(?:[选選][项項择擇]|答案|[图圖][片像形]?|[点點]|[项項])\s?:?\s?)"
)
NAMED = _NOUNS + "{1,3}"
"""Words in front of an option's letter that name no option themselves."""
NOUN = _NOUNS + "{0,3}"
"""The same, if there are any."""

_BRACKETED = r"[(\[{<]\s?([A-Za-z])\s?(?:[)\]}>]|$)"
_LABEL = re.compile(
    rf"(?i:{NOUN})[\"'“‘]?(?:{_BRACKETED}"
    r"|([A-Za-z])(?![\w^=+*/\\&-]|'[a-z])[\"'”’]?(\s?[):]|\.(?![A-Za-z](?:\W|$)|\d)|、(?!\s?[A-Za-z]))?)"
    r"|" + NOUN + r"([A-Z])(?=[\u4e00-\u9fff])",
)
# What may stand behind a bare letter. "A cat" is a cat, and "I think" is no option.
_AFTER_BARE = re.compile(
    r"\s*(?:$|\.(?!\w)|[,;!?…+。，、；！？\"'”’—–/&(\n\u4e00-\u9fff]|-\s"
    r"|(?:because|since|as|which|where|so|due|given|for|from|in|over|with|by|based|when|while|and|or|but"
    r"|not|rather|instead|only|option|choice|The|This|It|In|Because|Since|Here|Option|Explanation|Reason"
    r"|Note)\b)"
)
_VERB = r"(?:is|was|has|does|do|did|can|cannot|would|shows?|looks?|seems?|depicts?|contains?|only)"
_ANOTHER = (
    rf"(?:both\s|also\s|either\s|maybe\s|possibly\s|perhaps\s)?(?i:{NOUN})(?:{_BRACKETED}(?!\s{_VERB}\b)"
    r"|([A-Z])(?![\w'-])(?=\s*(?:$|[.,;:!?)/&。，、；\n]|(?:and|or|are|both|as\swell|together|The|This|It|Option|Both)\b"
    r"|[和或与及都均]|[选選]?[项項]))|([a-z])\))"
)
_JOINED = (
    r"(?:[,;/&+、，；]|(?:and|or|as\swell\sas|along\swith|plus)\b|[和或与與及]|以及|还是|還是|或者)"
)
_SEVERAL = re.compile(rf"\s*(?:{_JOINED}\s*){{1,3}}{_ANOTHER}|\s?{_BRACKETED}")
# A second label inside the text of the first: "A. a cat and B. a dog".
_INSIDE = re.compile(
    rf"(?:{_JOINED}\s*(?i:{NOUN})(?:{_BRACKETED}|([A-Z])[.:)]\s?(?=\w))|\s{_BRACKETED})(?!\s?{_VERB}\b)"
)
_SAID_WHY = re.compile(
    r",?\s(?:because|since|as|which|so|but|not|rather|instead|unlike|while|whereas|although|though"
    r"|given|due)\b|\s?[,，;；]?\s?(?:因为|所以|而|不是|理由)|(?<![\s(][A-Z])[.!?](?=\s)|[。！？\n]"
)


# Behind a label that stands alone.
_NOTHING = re.compile(r"[\s.)\"'。!?！？]*(?:only|[选選]?[项項]|图)?[\s.。!]*", re.IGNORECASE)


@dataclass(frozen=True)
class Option:
    """What the start of a text names."""

    letter: str | None
    """A capital; None when several options are named."""
    end: int
    """Where the label ends in the text."""
    marked: bool
    """Whether brackets or a sign mark the letter as a label."""

    def comes_after(self, other: "Option") -> bool:
        """Whether its letter is the next one in the alphabet, as in a list of options."""
        both = self.letter is not None and other.letter is not None
        return both and ord(self.letter or "") - ord(other.letter or "") == 1


def option_at(text: str) -> Option | None:
    """The option, or the several options, that the start of a plain text names."""
    match = _LABEL.match(text)
    if match is None:
        return None
    letter = (match[1] or match[2] or match[4]).upper()
    marked = match[1] is not None or match[3] is not None
    if match[2] and not marked and not _AFTER_BARE.match(text, match.end()):
        return None
    if _others(text, match.end(), letter, marked):
        return Option(None, match.end(), marked)
    return Option(letter, match.end(), marked)


def is_label(text: str) -> bool:
    """Whether a text is an option's label and nothing else."""
    option = option_at(text)
    return option is not None and _NOTHING.fullmatch(text, option.end) is not None


def _others(text: str, end: int, letter: str, marked: bool) -> bool:
    """Whether the text behind a label names another option besides."""
    following = _SEVERAL.match(text, end)
    if following is not None:
        return _letter(following) != letter or _others_after(text, following.end(), letter)
    if not marked:
        return False
    why = _SAID_WHY.search(text, end)
    inside = _INSIDE.finditer(text, end, why.start() if why else len(text))
    return any(_letter(match) != letter for match in inside)


def _others_after(text: str, end: int, letter: str) -> bool:
    following = _SEVERAL.match(text, end)
    return following is not None and _letter(following) != letter


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()
