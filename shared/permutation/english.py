"""Words of English texts about images, as parts of regular expressions."""

import re

from shared.permutation.names import CARDINALS, ORDINALS
from shared.permutation.slots import Slots

G = r"[ \t]"
CORE = r"(?:images?|pictures?|pics?\.?|photos?|photographs?|imgs?\.?|figures?|figs?\.?)"
# Words that may also name something inside an image, unless labels use them.
LOOSE = (
    r"(?:frames?|panels?|paintings?|diagrams?|drawings?|screenshots?|snapshots?|illustrations?"
    r"|graphs?|charts?|slides?|views?|scenes?|pages?|shots?)"
)
NOUN = rf"(?:{CORE}|{LOOSE})(?![\w-])"
ORDINAL = rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last|final|middle)"
CARDINAL = rf"(?:{'|'.join(CARDINALS)})"
ADJECTIVE = r"(?:input|given|shown|provided|displayed|uploaded|attached|colou?r)"
JOIN = rf"(?:{G}*,{G}*(?:(?:and|or){G}+)?|{G}+(?:and|or|&|versus|vs\.?){G}+|{G}*[/&]{G}*)"
# What may follow a pronoun ("than the second", "the first is") but not an adjective.
PRONOUN_ENDS = (
    rf"(?={G}*(?:[.,;:?!)\n]|$)|{G}+(?:is|are|was|were|does|do|has|have|had|shows?|contains?|and|or"
    r"|but|than|with|in|from|to|by|as|when|while|if|that|which|depicts?|can|will|should|may|more|less|not|also|looks?|appears?|seems?)\b"
    rf"|{G}+\w+er{G}+than\b)"
)


def may_be_inside(noun: str, slots: Slots) -> bool:
    """Whether the noun may name something inside an image instead of the image."""
    return re.fullmatch(CORE, noun, re.I) is None and noun.lower().rstrip("s.") not in slots.nouns


def sentence_number(text: str, place: int) -> int:
    """The number of the sentence at offset `place`."""
    return len(re.findall(r"[.?!。？！](?=\s)|\n", text[:place]))
