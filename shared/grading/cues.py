r"""Places in prose where an answer may be stated: "The answer is", "**Answer:**", "is correct".

Every pattern starts with a fixed word and is bounded: time is linear in the length of the text. A
look-ahead for the first letters makes the search about twice as fast.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from shared.grading.options import NAMED
from shared.grading.readings import PROSE
from shared.sample import AnswerKind

_MOST_CUES = 60
_BEFORE_CHARS = 80

_ADVERB = (
    r"(?:(?:therefore|thus|hence|then|indeed|clearly|definitely|certainly|obviously|simply|just"
    r"|actually|most\slikely|likely|probably|only|given\sby|as\sfollows)\b[\s,]{0,2})?"
)
_MODAL = r"(?:should|must|would|will|ha[sd]\sto|have\sto|ought\sto|seems?\sto|appears?\sto)"
_IS = (
    rf"(?:(?P<denied>(?:is|are|was)n['’]?t|(?:can|could|should|must|would|will|may|might)"
    r"(?:\s?not|n['’]t)\sbe)\b"
    rf"|(?P<maybe>(?:can|could|may|might)\s{_ADVERB}be)\b"
    rf"|(?:is|are|was|equals|becomes|turns\sout\sto\sbe|{_MODAL}\s{_ADVERB}be)\b)"
)
_GOOD = (
    r"(?:correct|right|best|final|matching|proper|suitable|appropriate|accurate|valid|closest"
    r"|likely)"
)
_DETAIL = (
    r"(?:,?\s(?:to|of|for|that|which|in|from|here|with|among|based\son|i|we|therefore|thus|then"
    r"|hence)\b[^.:\n]{0,80}?)?"
)
_SAYS = (
    rf"{_DETAIL}[*_`\"]{{0,3}}(?:\s?(?:[:：]|→|=>|=)|['’]s\s|\s[-–—](?=\s)|\s{_ADVERB}{_IS})"
    rf"[ \t]*{_ADVERB}[:：]?[ \t]*(?:\*\*(?=\s))?\s*"
)
_ANSWER = re.compile(
    rf"(?=[acorbfmpsvl#])(?:\b(?:ans(?:wers?)?|(?:correct|right)\s(?:order|sequence)|{_GOOD}\s(?:options|choices)|option"
    rf"|choice)(?:\(s\))?(?:\s(?:letter|number|choice|option|image))?{_SAYS}|####\s?)",
    re.IGNORECASE,
)
# What else may name the answer, where not any text is one.
_SUBJECT = re.compile(
    rf"(?=[crbfmpsavlogdt])\b(?:{_GOOD}\s(?:images?|pictures?|photos?|figures?|points?|box|ones?|match|letters?|numbers?"
    rf"|values?|statements?)|order|sequence|selection|selected|guess|verdict|decision|conclusion|solution|statement|claim|total"
    rf"|sum|result)"
    rf"{_SAYS}",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[#*_ \t>-]{0,12}(?:the\s)?(?:final\s|correct\s)?answer[*_ \t]{0,6}\n\s*",
    re.IGNORECASE | re.MULTILINE,
)
_CHINESE = re.compile(
    r"(?:(?:正[确確]的?|最[终終佳后後]的?|合适的?)(?:[选選][项項择擇]|[图圖][片像]?)|(?:正[确確]的)?答案|结果|結果"
    r"|[应應][该該]?[选選][择擇]?|[选選][择擇]|排序|[顺順]序)"
    r"[*\]】]{0,3}\s?(?:[应應][该該]?|就|便|只能|必[须須]|[该該])?\s?(?:[是为為选選][:：]?|[:：]|\](?=\s?\S))"
    r"[*\s]{0,3}[:：]?\s*"
    r"|(?:正[确確]的|符合[^，。,\n]{0,12}的)\s?[是为為]\s*"
    r"|故[选選][择擇]?[:：]?\s*"
    r"|(?:[选選][择擇]?了?|答案)\]?\s?(?=(?:[选選][项項])?\s?[(\"“]?\s?[A-ZＡ-Ｚ](?![A-Za-z]))"
)
_REPLY = re.compile(r"(?<![问問回作])答[:：]\s*")
_CHOSEN = re.compile(
    r"(?=[cpsgowi])(?<![A-Za-z])(?:choose|pick|select|chose|picked|selected|go(?:ing)?\swith|opt\sfor|guess"
    r"|(?:would|i['’]d)\ssay)(?:\s|:)\s{0,3}",
    re.IGNORECASE,
)
_REALLY = (
    r"\bbut\s(?:(?:it|this|that)\s)?(?:is\s)?(?:actually|really|in\sfact)\s"
    r"(?:is\s|it['’]s\s|it\sis\s)?(?=\W{0,3}(?:(?:option|image)\s\(?)?(?-i:[A-Z\d])(?![a-z]))"
)
# Where a sentence that corrects the one before starts.
_ANEW = r"(?:^|(?<=[.!…\n])|(?<=[.!…\n]\s)|(?<=\bwait\s)|(?<=\bwait,\s))"
_IT_IS = re.compile(
    r"(?=[itwonacbsl∴→⇒而应應是所因只就])(?:\b(?:it|this|that|which|one)"
    rf"(?:['’]s|\s(?:is|(?:must|should|would|has\sto|can\sonly)\sbe))\s{_ADVERB}"
    r"|[∴→⇒]\s?|而是|[应應][该該]?[是为為]"
    r"|(?<=[，,。\s])是\s?(?=[(\"“]?\s?[A-Z](?![A-Za-z]))|\bnot\s\S{1,12},?\sbut\s"
    rf"|{_ANEW}(?:actually|correction|no|sorry|oops)\s?[,:]\s?|\bi\smean\s|{_REALLY}"
    r"|(?:所以|因此|只能|就)是\s?(?=[(\"“]?\s?[A-Z](?![A-Za-z]))|\bleft\swith\s(?:only\s|just\s)?|\bleaves?\s(?:us\swith|only|just)\s)",
    re.IGNORECASE,
)
_IS_CORRECT = re.compile(
    rf",?\s(?:is|(?:must|should|would|has\sto|seems?\sto|appears?\sto)\sbe)\s{_ADVERB}(?P<not>not\s)?(?:the\s)?"
    rf"(?:only\s|most\s)?(?:(?:{_GOOD}|answer)"
    r"(?:\s(?:answer|option|choice|one|match|image|picture|figure|fit|letter|response))?"
    r"|match|(?P<wrong>wrong|incorrect|false)|one\s(?:that|which))"
    r"(?=\s*(?:[.,;!:)—\n]|$|-\s|(?:because|since|as|given|due|here|for|based|and)\b)"
    r"|(?<=\bthat)|(?<=\bwhich))",
    re.IGNORECASE,
)
# "B it is.", "B is not the answer; C is."
_IT_IS_BEHIND = re.compile(r"\sit\sis(?=[.!](?:\s|$)|\s?$)", re.MULTILINE)
_ELLIPSIS = re.compile(
    r"(?:\bnot|n['’]t)\s(?:the\s)?(?:\w{1,12}\s)?(?:answer|correct|right|match)[;,.]\s(?:but\s)?"
    r"(?:option\s)?\(?[A-Z]\)?(?P<is>\sis)(?=[.!](?:\s|$)|\s?$)",
    re.MULTILINE,
)
_CHINESE_CORRECT = re.compile(
    r"(?<=[A-Z)])\s?(?:[选選]?[项項]|[图圖])?\s?"
    r"(?:(?:是|才是?|就是|都|均)?\s?"
    r"(?:(?P<not>不(?:正[确確]|[对對]|符合|是)|[错錯]|有[误誤])|正[确確]|[对對](?=的|[，。,.]|$)"
    r"|最?(?:符合|[满滿]足|合适|[佳好]|恰当|准确|接近|相似|匹配)|答案)"
    r"|[与和跟][^，。,.\n不A-Z]{1,12}(?:相符|吻合|一致|匹配))(?!.{0,3}[吗嗎])"
)
_VERDICTS = (_IS_CORRECT, _IT_IS_BEHIND, _ELLIPSIS, _CHINESE_CORRECT)
_MENTION = re.compile(
    rf"(?P<named>(?i:{NAMED})\(?)?(?:(?P<sign>[(\[{{<]\s?[A-Za-z]\s?[)\]}}>])|(?(named)[A-Za-z]|(?<![A-Za-z0-9])[A-Z])(?![\w'-]))"
)
_TAKEN_BACK = re.compile(
    r"(?=[wntsacobi不错錯])(?:\b(?:wait,?\sno|no,\swait|scratch\sthat"
    r"|that(?:['’]s|\sis)\s(?:wrong|incorrect|not\s(?:right|correct)))\b"
    rf"|(?P<soft>{_ANEW}(?:actually|correction)\b|{_ANEW}(?:no|sorry|oops),\s|\bi\smean\b|{_REALLY})"
    r"|(?<![^。，,.!？?…\s])(?:不[对對]|[错錯]了)[,，。])",
    re.IGNORECASE,
)

# What stands before a cue, in its clause.
_SENTENCE_START = re.compile(r"[.!?](?=\s)|[。！？\n]")
_CLAUSE_START = re.compile(
    r"[,，;；:：]|\b(?:so|thus|therefore|hence|but|and|because|since|then)\b", re.IGNORECASE
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|supposing|assume|assuming|unless|although|even\sthough)\b"
    r"|如果|假设|虽然|雖然|尽管|儘管",
    re.IGNORECASE,
)
_OF_ANOTHER = re.compile(
    r"\b(?:wrong|incorrect|another|other|each|any|every|no|false|first|second)\s$|[错錯][误誤]的?$",
    re.IGNORECASE,
)
_GERUND = re.compile(
    r"^\W*(?!meaning|indicating|suggesting|showing|confirming|concluding|implying)[a-z]+ing"
    r"\s(?:the|a|your)\s(?:\w+\s)?$",
    re.IGNORECASE,
)
DOUBT = (
    r"(?<!\bno\s)(?<!out\s)(?<!out\sa\s)(?<!out\sany\s)(?<!\bbeyond\s)\bdoubts?\b"
    r"|\b(?:unlikely|improbable|implausible|impossible|inconceivable|doubtful)"
    r"(?=\s(?:that|for|to|the|it|if|whether)\b)|\b(?:hardly|no\s(?:way|chance|reason|evidence))\b"
    r"|\bleast\s(?:likely|probable|plausible)(?=\s$|\s(?:answer|option|choice)\b)"
)
"""Words that deny what follows them in their clause."""
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|[a-z]{2,6}n['’]t)\b|[不没沒別别勿非][应應该該能可要会會]{0,3}$"
    rf"|[没沒]有(?:任何)?(?:理由|必要|[证證][据據])?$|{DOUBT}",
    re.IGNORECASE,
)
_PERHAPS = re.compile(r"\b(?:may|might|could|to)\s$", re.IGNORECASE)
_NOTE = re.compile(r"\W*(?:please\s)?(?:note|remark|disclaimer|hint|tip|注意?)\b", re.IGNORECASE)
_LISTED = re.compile(
    r"(?:[(\[]?\b[A-Za-z][)\].]?)\s*(?:/|&|、|,?\s?\b(?:and|or|nor)\b|和|或|与)\s*(?:option\s)?$",
    re.IGNORECASE,
)
_STARTS_DENIED = re.compile(
    r"(?:(?:definitely|certainly|clearly)\s)?(?:not|neither|never)\b\s*(?:either\s)?|不是?\s?",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[^.!?。！？\n]{0,60}[?？]")


@dataclass(frozen=True)
class Cue:
    """A place where an answer may be stated."""

    place: int
    start: int
    """Where the answer starts."""
    end: int | None = None
    """Where it ends at the latest, where that is known."""
    weak: bool = False
    """Whether it speaks of something else than the answer: "it is", "I choose", a note."""
    denied: bool = False
    taken_back: bool = False
    """Whether it takes back what was said before."""
    replaced: bool = False
    """Whether it takes that back only if another answer follows ("Actually, ...")."""


def cues(text: str, kind: AnswerKind) -> list[Cue]:
    """The last cues in a text, the last one first."""
    prose = kind in PROSE
    finders = [_statements(text, pattern, kind) for pattern in (_ANSWER, _HEADING, _CHINESE)]
    finders.append(_statements(text, _CHOSEN, kind, weak=not prose))
    if not prose:
        finders += [_statements(text, one, kind, weak=True) for one in (_SUBJECT, _IT_IS, _REPLY)]
        finders.append(_taken_back(text))
    if kind in ("letter", "position"):
        finders += [_verdicts(text, one, kind) for one in _VERDICTS]
    found = [cue for finder in finders for cue in finder]
    return sorted(found, key=lambda cue: cue.place, reverse=True)[:_MOST_CUES]


def _statements(
    text: str, pattern: re.Pattern[str], kind: AnswerKind, weak: bool = False
) -> Iterator[Cue]:
    """Cues before the answer: "the answer is", "choose"."""
    deniable = kind == "math" or kind not in (*PROSE, "boolean", "steps")
    for match in _last(pattern, text):
        clause = last_clause(_sentence_before(text, match.start()))
        if any(one.search(clause) for one in (_SUPPOSED, _OF_ANOTHER, _GERUND, _PERHAPS)):
            continue
        groups = match.groupdict()
        start = _STARTS_DENIED.match(text, match.end()) if deniable else None
        yield Cue(
            place=match.end(),
            start=start.end() if start else match.end(),
            weak=weak or bool(groups.get("maybe")) or _is_aside(text, match),
            denied=bool(groups.get("denied") or start or _DENIED.search(clause)),
        )


def _verdicts(text: str, pattern: re.Pattern[str], kind: AnswerKind) -> Iterator[Cue]:
    """Cues behind the answer: "B is correct", "option B (a cat) is the match", "选项B正确"."""
    for match in _last(pattern, text):
        groups = match.groupdict()
        end = match.start("is" if "is" in groups else 0)
        sentence = _sentence_before(text, end)
        subject = last_clause(sentence) if kind == "position" else _last_option(sentence)
        before = sentence.removesuffix(subject)
        clause = last_clause(before)
        if not subject or _LISTED.search(before) or _SUPPOSED.search(clause):
            continue
        yield Cue(
            place=end,
            start=end - len(subject),
            end=end,
            weak=True,
            denied=bool(groups.get("not") or groups.get("wrong") or _DENIED.search(clause)),
        )


def takes_back(text: str) -> bool:
    """Whether a text takes back what was said before it ("Wait, no.")."""
    return _TAKEN_BACK.search(text) is not None


def takes_all_back(text: str) -> bool:
    """As `takes_back`, but not for a word that may only begin a sentence ("Actually, ...")."""
    return any(match["soft"] is None for match in _TAKEN_BACK.finditer(text))


def _taken_back(text: str) -> Iterator[Cue]:
    for match in _last(_TAKEN_BACK, text):
        yield Cue(
            match.start(),
            match.end(),
            taken_back=match["soft"] is None,
            replaced=match["soft"] is not None,
        )


def _last(pattern: re.Pattern[str], text: str) -> deque[re.Match[str]]:
    return deque(pattern.finditer(text), _MOST_CUES)


def _sentence_before(text: str, place: int) -> str:
    return _SENTENCE_START.split(text[max(0, place - _BEFORE_CHARS) : place])[-1]


def last_clause(sentence: str) -> str:
    """What stands in a sentence behind its last comma or conjunction."""
    return _CLAUSE_START.split(sentence)[-1]


def _last_option(sentence: str) -> str:
    """The end of a sentence from the last option's label on; "" without one.

    Other words may stand behind a label that is marked or named as one, but not behind a bare
    letter: "A cat is correct" names no option.
    """
    last = None
    for match in _MENTION.finditer(sentence):
        last = match
    if last is None:
        return ""
    rest = sentence[last.end() :].strip(" )")
    is_label = last["named"] or last["sign"]
    return sentence[last.start() :] if is_label or not rest or rest.startswith("(") else ""


def _is_aside(text: str, match: re.Match[str]) -> bool:
    """Whether the statement is a question, or on a line that begins with "Note"."""
    line = text.rfind("\n", max(0, match.start() - _BEFORE_CHARS), match.start()) + 1
    noted = _NOTE.match(text, max(line, match.start() - _BEFORE_CHARS), match.start())
    return noted is not None or _ASKED.match(text, match.end()) is not None
