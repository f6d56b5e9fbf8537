"""Finds names of images without a noun where labels look so too: "(1) and (2)", "①".

The same brackets also number questions, statements and equations. A bracket is followed only where
the words beside it leave no doubt, and the sample is refused where they do.
"""

import re
from collections.abc import Iterable, Iterator

from shared.permutation.english import PRONOUN_ENDS, G
from shared.permutation.names import Atom, Family, Refused, read_name
from shared.permutation.options import ASKED, Option
from shared.permutation.slots import Slots

_OPEN, _CLOSE = r"[(（\[][ \t]*", r"[ \t]*[)）\]]"
_BRACKET = re.compile(
    rf"(?<![\w)）\]}}$^\\]){_OPEN}(?P<token>\d{{1,2}}|[A-Za-z]){_CLOSE}"
    rf"|(?<=[\u4e00-\u9fff)）\]]){_OPEN}(?P<token2>\d{{1,2}}|[A-Za-z]){_CLOSE}|(?P<circled>[①-⑩])"
)
_JOIN = re.compile(r"[ \t]*(?:,[ \t]*(?:and|or)?|、|，|和|与|及|或|and|or|&|/|vs\.?)?[ \t]*", re.I)
_RANGE = re.compile(
    r"[ \t]*(?P<to>-|–|—|~|～|to|through|至|到)[ \t]*"
    rf"(?:{_OPEN}(?P<token>\d{{1,2}}|[A-Za-z]){_CLOSE}|(?P<circled>[①-⑩]))",
    re.I,
)
_LIST = re.compile(
    rf"(?:(?:only|both|just|images?|figures?|pictures?|仅|只有|图)[ \t]*)?"
    rf"(?:{_OPEN}(?:\d{{1,2}}|[A-Za-z]){_CLOSE}|[①-⑩])"
    rf"(?:{_JOIN.pattern}(?:{_OPEN}(?:\d{{1,2}}|[A-Za-z]){_CLOSE}|[①-⑩]))*"
    r"(?:[ \t]*only)?[ \t]*[.。;；]?[ \t]*",
    re.I,
)
# What comes before a name in a sentence.
_LEAD = re.compile(
    r"(?:\b(?:of|in|and|or|is|are|was|were|with|than|from|by|as|like|both|only|that|between|does|do"
    r"|did|which|compare|among|can|will|would|should|could|may|to|on|but|not|for|if|has|have|shows?|while|versus|vs\.?)"
    r"|[,、，]|[在是和与及或比从由把将对如中为看若])[ \t]*$",
    re.I,
)
_OF_TEXT = re.compile(
    r"(?:\b(?:equations?|eqs?\.?|formulas?|formulae|conditions?|statements?|questions?|parts?|steps?"
    r"|expressions?|inequalit(?:y|ies)|conclusions?|propositions?|theorems?|problems?|rules?|sub-?"
    r"questions?|lemmas?|cases?)|[式件题论程理问步则])[ \t]*$",
    re.I,
)
_VERB = re.compile(rf"{PRONOUN_ENDS}|[ \t]*[是比和与中有的、]", re.I)
# Bare numbers that may name images with labels such as "(1)" or "2.".
_NUMBER = r"\d{1,2}(?![\w%°]|[.,]\d)"
_NUMBER_LIST = re.compile(
    rf"(?<![\w.,$+\-*/=^(（\[]){_NUMBER}(?:,[ \t]*{_NUMBER})*"
    rf"(?:,?[ \t]*(?:and|or|&|vs\.?)[ \t]*|[和与或、])"
    rf"{_NUMBER}(?=[ \t]*(?:[.,;:?!)\n]|$|[\u4e00-\u9fff])|{PRONOUN_ENDS})",
    re.I,
)
_NUMBERS = re.compile(r"\d{1,2}(?:[ \t]*(?:,|、|，|and|or|&|和|与)[ \t]*\d{1,2})+[ \t]*\.?", re.I)
_NAMED_NUMBER = re.compile(
    rf"\b(?:number|no\.|shapes?|objects?|patterns?|solids?|items?|cards?|samples?|blocks?|pieces?"
    rf"|options?|choices?){G}+#?(?P<number>{_NUMBER})"
    rf"|\b(?:is|are|does|do|than|of){G}+(?P<asked>{_NUMBER})(?={G}+(?:a|an|the)\b|{G}*[?]|{G}+\w+er\b)",
    re.I,
)


def bare_atoms(
    text: str, options: list[Option], slots: Slots, atoms: Iterable[Atom]
) -> Iterator[Atom]:
    """The names in brackets and circles in `text` (tags and labels blanked).

    Args:
        options: the text options, whose labels are blanked in `text` too.
        atoms: the names that are found already.

    Raises:
        Refused: when a bracket or a bare number may name an image, but that is not certain.
    """
    if not slots.bracketed | slots.bare and not slots.circled:
        _refuse_without_labels(text, options, slots)
        return
    taken = {atom.start for atom in atoms}
    listed = [one for one in options if _LIST.fullmatch(text, one.start, one.end)]
    done, skipped, last = -1, -1, False
    for match in _BRACKET.finditer(text):
        group = match.lastgroup or ""
        start, token = match.start(group), match[group]
        if start in taken:
            done, last = match.end(), True
            continue
        if not _has_label(token, slots):
            continue
        joined = last and _JOIN.fullmatch(text, done, match.start()) is not None
        if match.start() < skipped:
            continue
        if reach := _RANGE.match(text, match.end()):
            skipped = reach.end()
            _refuse_part(match, reach, slots)
            continue
        option = any(one.start <= start < one.end for one in listed)
        last = joined or option or _names(text, match, slots)
        done = match.end()
        if last:
            yield slots.names.atom(start, token, match.group())
    if "number" in slots.bare:
        _refuse_bare_numbers(text, options, slots)


def _has_label(token: str, slots: Slots) -> bool:
    """Whether labels are written as `token` is."""
    name = read_name(token, slots.names.count)
    if name is None:
        return False
    if name.style == "circled":
        return slots.circled
    like: Family = name.family
    if like == "letter" and token.islower() != slots.small:
        return False
    return like in slots.bracketed or like in slots.bare


def _names(text: str, match: re.Match[str], slots: Slots) -> bool:
    """Whether a bracket names an image; False where it numbers a part of the text.

    Raises:
        Refused: when it may do either.
    """
    before = text[: match.start()].rpartition("\n")[2]
    after = text[match.end() :]
    phrase = f"{before[-20:]}{match.group()}{after[:20]}".split("\n")[0]
    if _OF_TEXT.search(before):
        return False
    starts = re.search(r"(?:^|[.;:?!。；：？！])[ \t]*$", before) is not None
    if not starts and _LEAD.search(before):
        return True
    if starts and _VERB.match(after) and after.strip() and not after.startswith("\n"):
        return True
    bare = not slots.nouns
    if starts and not bare:
        return False
    raise Refused("unclear_name", phrase)


def _refuse_part(first: re.Match[str], reach: re.Match[str], slots: Slots) -> None:
    """Refuse "(1) to (3)", which has a direction, and "(1)-(2)" unless these are all images."""
    names = [read_name(one[one.lastgroup or ""], slots.names.count) for one in (first, reach)]
    ends = [name.value for name in names if name is not None]
    labelled = slots.names.slots[names[0].family] if names[0] else {}
    within = {labelled[value] for value in labelled if ends[0] <= value <= ends[-1]}
    if reach["to"] not in "-–—~～" or not slots.names.stable(within):
        raise Refused("set_of_images", first.group() + reach.group())


def _refuse_without_labels(text: str, options: list[Option], slots: Slots) -> None:
    """Refuse "Which of (1) and (2)" of images without labels, unless the text numbers its parts."""
    if not ASKED.search(text) or slots.names.slots["number"].keys() != set(
        range(1, slots.names.count + 1)
    ):
        return
    listed, parts = "", False
    for match in _BRACKET.finditer(text):
        name = read_name(match[match.lastgroup or ""], slots.names.count)
        if name is None or name.family != "number" or slots.names.slot(name) is None:
            continue
        before = text[: match.start()].rpartition("\n")[2]
        option = any(one.start <= match.start() < one.end for one in options)
        if option or _LEAD.search(before) or (listed and not before.strip()):
            listed = listed or match.group()
        else:
            parts = parts or not _BRACKET.search(before[-4:])
    if listed and not parts:
        raise Refused("unclear_name", listed)


def _refuse_bare_numbers(text: str, options: list[Option], slots: Slots) -> None:
    labelled = slots.names.slots["number"]
    for option in options:
        words = text[option.start : option.end]
        numbers = [int(one) for one in re.findall(r"\d+", words)]
        if len(numbers) > 1 and _NUMBERS.fullmatch(words) and set(numbers) <= set(labelled):
            raise Refused("option_may_name_an_image", words)
    for match in _NUMBER_LIST.finditer(text):
        if {int(one) for one in re.findall(r"\d+", match.group())} <= set(labelled):
            raise Refused("unclear_name", match.group())
    for match in _NAMED_NUMBER.finditer(text):
        if int(match["number"] or match["asked"]) in labelled:
            raise Refused("unclear_name", match.group())
