"""Finds the labels of images: words beside a tag that name its slot, "Figure 1", "(2)", "图一".

Labels stand before their tags or behind them, and words between two tags could be either. Both
readings are tried, and the one that labels all images that move wins. When neither or both do and
the words could name the wrong image, the sample is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.permutation.names import Name, Refused, read_name
from shared.sample import IMAGE_TAG

_LOOSE = (
    r"panels?|frames?|diagrams?|graphs?|charts?|paintings?|slides?|tables?|maps?|plots?|documents?"
    r"|screens?|samples?|items?|cards?|shapes?|patterns?|objects?"
)
_NOUN = (
    r"(?:images?|pictures?|pics?\.?|photos?|photographs?|imgs?\.?|figures?|figs?\.?|options?|choices?"
    rf"|candidates?|{_LOOSE}|views?|图片|图像|图形|照片|图|圖片|圖像|圖|选项)"
)
# "Left view" is a drawing of a solid, not a place.
_PLACED = _NOUN.replace("|views?", "")
_WORD = r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|left|right)"
_TOKEN = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)|\d{{1,2}}|(?<![A-Za-z])[A-Za-z]|{_WORD}"
    r"|[一二三四五六七八九十①-⑩左右])"
)
_END = r"[ \t]*(?:\*\*)?[ \t]*[.:：．、)）\]>=\-–—]?(?:\*\*)?"
_FORMS = (
    # Image 1: / Figure (2) / Option B. / 图1：
    rf"(?:the[ \t]+)?(?P<noun>{_NOUN})[ \t]*(?:no\.?|number)?[ \t]*(?P<open>[#_\-(（\[]?)[ \t]*"
    rf"(?P<a>{_TOKEN})[)）\]]?",
    # First / The second image / Left picture / 第一张图
    rf"(?:the[ \t]+)?(?P<b>{_WORD})(?:[ \t]+(?P<noun2>{_PLACED}))?",
    rf"第(?P<c>[一二三四五六七八九十]|\d{{1,2}})[张張幅个個](?:{_NOUN})?",
    # A. / (B) / [1] / 2)
    r"(?P<bracket>[(（\[])[ \t]*(?P<d>\d{1,2}|[A-Za-z])[ \t]*[)）\]]",
    r"(?P<e>\d{1,2}|[A-Za-z])[ \t]*[.:：．、)]",
    r"(?P<f>[①-⑩])",
)
_BEFORE = [
    re.compile(
        rf"(?:^|(?<!fig)(?<!figs)(?<!no)[\n.?!:;,>)）。？！：；，、])\s*(?P<all>(?:\*\*|[(（\[<])?{form}{_END})\s*$",
        re.I,
    )
    for form in _FORMS
]
_IN_SENTENCE = re.compile(rf"(?:^|\s)(?P<all>{_FORMS[0]}{_END})[ \t]*$", re.I)
_BEHIND = [
    re.compile(rf"\s*(?P<all>(?:\*\*|[(（\[<])?{form}{_END})(?=\s*$|\s*\n)", re.I)
    for form in _FORMS
]
# "<image> (1) <image> (2) Which of them": the last label of a line with all images on it.
_BEHIND_LAST = [
    re.compile(rf"[ \t]*(?P<all>{form}{_END})(?=[ \t]+(?-i:[A-Z][a-z])|[\u4e00-\u9fff])", re.I)
    for form in (_FORMS[0], _FORMS[3], _FORMS[5])
]
# "Figure 1    Figure 2" below or above images that stand side by side.
_IN_A_ROW = re.compile(rf"(?P<all>(?:{_FORMS[0]}|{_FORMS[3]}|{_FORMS[5]}){_END})", re.I)
_ROW_GAP = re.compile(r"[ \t\u3000]*(?:[,，、;；|]|\b(?:and|or)\b|[和与])?[ \t\u3000]*", re.I)
BETWEEN = re.compile(
    rf"(?:\s|[,;|/&.:、，；。：()（）]|\band\b|\bor\b|\bvs\b|[和与及或]|(?:the\s+)?\b{_NOUN}\b\s*:)*",
    re.I,
)


@dataclass(frozen=True)
class Label:
    """Words at `start:end` of the question that name the slot beside them."""

    start: int
    end: int
    name: Name
    noun: str
    token: str
    bracketed: bool
    in_sentence: bool = False
    """Whether the words could also be the end of a sentence: "as shown in Figure 2 <image>"."""


Labels = dict[int, Label]


def read_labels(question: str, tags: list[int], movable: list[int]) -> Labels:
    """The label of each slot that has one.

    Raises:
        Refused: when words could be the label of either of two images, or no label at all.
    """
    ends = [0, *(tag + len(IMAGE_TAG) for tag in tags)]
    pieces = list(zip(ends, [*tags, len(question)], strict=True))
    before = dict(_before(question, pieces[:-1], len(tags)))
    behind = dict(_behind(question, pieces[1:], len(tags)))
    for start, end in (pieces[-1], pieces[0]):
        if row := _row(question, start, end, len(tags), start == pieces[-1][0]):
            return row
    return _chosen(question, before, behind, set(movable))


def _row(question: str, start: int, end: int, count: int, below: bool) -> Labels:
    """The labels in the line below or above the images, one for each; none without such a line.

    Raises:
        Refused: when there are several, but not one for each image.
    """
    lines = list(re.finditer(r"[^\n]*\S[^\n]*", question[start:end]))
    if not lines:
        return {}
    line = lines[0 if below else -1]
    matches = list(_IN_A_ROW.finditer(line.group()))
    ends = [0, *(match.end() for match in matches)]
    starts = [*(match.start() for match in matches), len(line.group())]
    gaps = [line.group()[begin:stop] for begin, stop in zip(ends, starts, strict=True)]
    if len(matches) < 2 or not all(_ROW_GAP.fullmatch(gap) for gap in gaps):
        return {}
    if len(matches) != count and "".join(gaps[1:-1]).strip():
        return {}  # "Figure 1 and Figure 2" begins the question.
    if len(matches) != count:
        raise Refused("unclear_label", line.group())
    labels = [_label(match, start + line.start(), count, False) for match in matches]
    return {slot: label for slot, label in enumerate(labels) if label is not None}


def _chosen(question: str, before: Labels, behind: Labels, movable: set[int]) -> Labels:
    doubtful = {slot: label for slot, label in before.items() if label.in_sentence}
    sure = {slot: label for slot, label in before.items() if slot not in doubtful}
    complete = [one for one in (sure, behind) if one and movable <= set(one)]
    if not complete and doubtful and movable <= set(before):
        complete = [before]
    if complete:
        return _larger(question, complete[0], complete[-1])
    if any(label.noun for label in doubtful.values()):
        raise Refused("unclear_label", _words(question, doubtful))
    last = question.count(IMAGE_TAG) - 1
    if not sure and set(behind) == {last} <= movable:
        return _alone(question, behind)
    if not behind and set(sure) == {0} <= movable:
        return _alone(question, sure)
    return _larger(question, sure, behind)


def _larger(question: str, one: Labels, other: Labels) -> Labels:
    """The reading that makes labels of more words."""
    if one and one is not other and len(one) == len(other):
        raise Refused("unclear_label", _words(question, one))
    return max(one, other, key=len)


def _alone(question: str, labels: Labels) -> Labels:
    """No label: the number of the question or its start. "Figure 1" could be either."""
    if any(label.noun and label.name.family in ("number", "letter") for label in labels.values()):
        raise Refused("unclear_label", _words(question, labels))
    return {}


def _words(question: str, labels: Labels) -> str:
    label = next(iter(labels.values()))
    return question[label.start : label.end]


def _before(
    question: str, pieces: list[tuple[int, int]], count: int
) -> Iterator[tuple[int, Label]]:
    for slot, (start, end) in enumerate(pieces):
        piece = question[start:end]
        found = [match for form in _BEFORE if (match := form.search(piece)) is not None]
        in_sentence = _IN_SENTENCE.search(piece)
        if found and not (slot > 0 and _on_the_line_of_the_last(piece, found[0])):
            ends = slot == 0 and _ends_a_sentence(piece, found[0])
            label = _label(found[0], start, count, ends)
        elif not found and in_sentence and not in_sentence["all"].endswith("."):
            joined = BETWEEN.fullmatch(piece, 0, in_sentence.start("all")) is not None
            label = _label(in_sentence, start, count, not (slot > 0 and joined))
        else:
            continue
        if label is not None:
            yield slot, label


def _behind(
    question: str, pieces: list[tuple[int, int]], count: int
) -> Iterator[tuple[int, Label]]:
    for slot, (start, end) in enumerate(pieces):
        piece, last = question[start:end], slot == len(pieces) - 1
        forms = [*_BEHIND, *(_BEHIND_LAST if last else ())]
        match = next((match for form in forms if (match := form.match(piece)) is not None), None)
        if match is None or (not last and _on_the_line_of_the_next(piece, match)):
            continue
        if label := _label(match, start, count, False):
            yield slot, label


def _ends_a_sentence(piece: str, match: re.Match[str]) -> bool:
    """Whether "Figure 2." or "..., Figure 2" may end a sentence before the first image."""
    lead = piece[: match.start("all")].rstrip(" \t*<")
    words = lead.rpartition("\n")[2].strip()
    noun = match.groupdict().get("noun") is not None
    return bool(words) and noun and (lead[-1] in ",，;；" or match["all"].endswith("."))


def _on_the_line_of_the_last(piece: str, match: re.Match[str]) -> bool:
    """Whether a label between two tags is on the line of the first one only."""
    if match["all"].rstrip("* ").endswith((":", "：")):
        return False
    return "\n" not in piece[: match.start("all")] and "\n" in piece[match.end("all") :]


def _on_the_line_of_the_next(piece: str, match: re.Match[str]) -> bool:
    """Whether a label between two tags is on the line of the second one only, or points to it."""
    points = match.groupdict().get("e") is not None and "\n" not in piece
    if points or match["all"].rstrip("* ").endswith((":", "：")):
        return True
    return "\n" in piece[: match.start("all")] and "\n" not in piece[match.end("all") :]


def _label(match: re.Match[str], offset: int, count: int, in_sentence: bool) -> Label | None:
    groups = match.groupdict()
    token = next(groups[key] for key in "abcdef" if groups.get(key))
    name = read_name(token, count)
    if name is None:
        return None
    if groups.get("c"):
        name = Name(name.style, "place", name.value)
    noun = groups.get("noun") or groups.get("noun2") or ""
    bracketed = bool(groups.get("bracket")) or groups.get("open") in ("(", "（", "[")
    start, end = offset + match.start("all"), offset + match.end("all")
    return Label(start, end, name, noun, token, bracketed, in_sentence)
