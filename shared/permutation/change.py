"""Refuses questions about what changes from one image to the next: their order is that of time.

"Did the dog move left or right?" has another answer when the images change places. Where names say
which image is which, "from image 1 to image 2", they follow their images and the text stays true.
"""

import re
from collections.abc import Sequence

from shared.permutation.english import NOUN
from shared.permutation.names import Atom, Refused
from shared.permutation.slots import Slots

_MOVE = (
    r"(?:move|rotate|turn|go|walk|run|travel|shift|zoom|pan|tilt|approach|grow|shrink|increase"
    r"|decrease|rise|fall|drop|change|become|get|open|close|appear|disappear|vanish|add|remove|lose"
    r"|gain|leave|arrive|enter|exit|happen|spill|break|melt|improve|worsen|expand|darken|brighten"
    r"|swap|replace|pick|put|eat|take[ \t]+(?:away|off|out))"
)
_DONE = (
    r"(?:moved|rotated|turned|gone|walked|run|travel+ed|shifted|zoomed|approached|grown|shrunk"
    r"|increased|decreased|risen|fallen|dropped|changed|become|gotten|opened|closed|appeared"
    r"|disappeared|vanished|added|removed|lost|gained|arrived|entered|exited|happened|spilled"
    r"|broken|melted|improved|worsened|expanded|darkened|brightened|swapped|replaced|picked|eaten"
    r"|taken[ \t]+away)"
)
_DOING = (
    r"(?:opening|closing|increasing|decreasing|growing|shrinking|rising|falling|approaching|leaving"
    r"|arriving|entering|exiting|melting|freezing|zooming|filling|emptying|adding|removing)"
)
_TIME = (
    r"(?:chronological|temporal|sequential|time|correct|right|proper|natural|consecutive|this|that)"
)
_ROLE = (
    r"(?:query|reference|source|target|probe|anchor|candidate|template|exemplar|support|original"
    r"|edited|modified|generated|distorted|baseline)"
)
_STATE = r"[ \t]+(?:states?|images?|pictures?|frames?|photos?|views?|positions?|configurations?)"

_CHANGES = [
    re.compile(pattern, re.I)
    for pattern in (
        # Did the dog move? Has it grown? How many were added? What disappeared?
        # "How far did it move?" has the same answer both ways.
        rf"(?<!far )(?<!long )(?<!fast )\b(?:did|didn['’]t)\b[^.?!\n]{{0,100}}?\b{_MOVE}\b",
        rf"\b(?:has|have|had)[ \t]+(?:(?:\w+ly|been|just|not|also|already)[ \t]+)*{_DONE}\b(?!-)",
        rf"(?:^|[.?!,\n][ \t]*|\b(?:where|how|why|direction|way)[ \t]+)"
        r"(?:has|have|had)[ \t]+(?!an?\b)"
        rf"[^.?!\n]{{0,60}}?\b{_DONE}\b",
        rf"\b(?:was|were|been)[ \t]+(?:\w+[ \t]+){{0,2}}?{_DONE}\b(?!-)",
        r"\b(?:what|who|which[ \t]+\w+|how[ \t]+many[ \t]+\w+)[ \t]+(?:\w+[ \t]+)?"
        r"(?:changed|(?:dis)?appear(?:s|ed)|vanish(?:es|ed)|moved|arrived|happened)\b",
        r"\b(?:happened|occurred|took[ \t]+place)\b",
        r"\b(?:disappear(?:s|ed|ing)?|vanish(?:es|ed|ing)?|newly[ \t]+\w+ed)\b",
        r"\bwhat(?:[ \t]+(?:objects?|things?|items?))?[ \t]+(?:is|are)[ \t]+(?:missing|gone|new)\b",
        # Is it getting closer? Does the number of birds increase? Is the door opening or closing?
        r"\b(?:get|gets|getting|got|become|becomes|becoming|became|grow|grows|growing|grew)[ \t]+"
        r"(?:\w+er|more|less|worse)\b",
        r"\b(?:number|amount|level|height|size)[ \t]+of\b[^.?!\n]{0,40}"
        r"\b(?:increas|decreas|grow|shrink|ris(?:e|es|ing)\b|fall(?:s|ing)?\b|chang)",
        r"\bincreases?[ \t]+or[ \t]+decreases?\b|\bdecreases?[ \t]+or[ \t]+increases?\b",
        rf"\b{_DOING}[ \t]+or[ \t]+(?:is[ \t]+(?:it|he|she)[ \t]+)?{_DOING}\b",
        # What will happen next? From one image to the next
        r"\b(?:happens?|happening|comes?|do|does|go|goes|follows?|occurs?|say)[ \t]+next\b"
        r"(?![ \t]+to\b)",
        r"\b(?:next|now)[ \t]*\?|\bwhat(?:[ \t]+\w+){0,3}[ \t]+next\b(?![ \t]+to\b)",
        rf"\b(?:from|between)[ \t]+one[ \t]+{NOUN}[ \t]+(?:to|and)[ \t]+"
        r"(?:the[ \t]+)?(?:next|another|other)\b",
        rf"\b{NOUN}[ \t]+(?:(?:is|are|was|then)[ \t]+)*followed[ \t]+by\b",
        rf"\bfollowed[ \t]+by[ \t]+(?:\w+[ \t]+){{0,2}}{NOUN}",
        # In order; the start state and the goal state
        rf"\bin[ \t]+(?:the[ \t]+|their[ \t]+)?{_TIME}[ \t]+(?:order|sequence)\b",
        rf"\b{NOUN}[^.?!\n]{{0,60}}\bin[ \t]+(?:order|sequence)(?![ \t]+(?:to|that)\b)",
        rf"\b(?:start(?:ing)?|initial|current|source|original|earlier|input)(?:{_STATE})?"
        r"[ \t]+(?:and|to|then)[ \t]+(?:then[ \t]+)?(?:an?[ \t]+|the[ \t]+|its[ \t]+)?"
        rf"(?:goal|end(?:ing)?|final|target|later|edited|modified|output){_STATE}\b",
        # 按时间顺序, 增加还是减少, 向左还是向右, 少了什么, 接下来
        r"(?:时间|先后|发生|拍摄|生长)的?(?:顺序|次序|先后)|顺序(?:展示|显示|拍摄)",
        r"(?:增加|增多|增大|减少|变[大小多少高低长短远近])[^。？！\n]{0,6}还是"
        r"|[向往朝][左右上下前后][^。？！\n]{0,6}还是[向往朝]?[左右上下前后]",
        r"(?:增加|减少)了(?:多少|几|什么|哪)|(?<![为极])[多少]了(?:什么|几|多少|哪|一)|消失|不见了"
        r"|(?:什么|怎样|如何|哪些|怎么)的?变化|变化了|变成了|变了",
        r"(?:相机|摄像机|镜头|摄影机|视角)[^。？！\n]{0,12}(?:移动|旋转|转动|平移|转)",
        r"更?[近远大小高矮长短多少亮暗]了吗|越来越|更[近远大小高矮长短多少亮暗]了",
        r"了还是[^。？！\n]{1,8}了|[两二三几]次(?:拍摄|拍照)之间",
        r"接下来|下一步|然后会|之后会|随后",
    )
]
# "The reference image" of images without fixed ones or names is the first or the last of them.
_ROLES = re.compile(rf"\bthe[ \t]+{_ROLE}[ \t]+(?:image|picture|photo(?:graph)?)(?![\w-])", re.I)


def refuse_change(text: str, slots: Slots, atoms: Sequence[Atom]) -> None:
    """Refuse an invariant question about a change, unless names say which image is which.

    Args:
        text: the question, with tags and labels blanked.
        atoms: the names in the question.

    Raises:
        Refused: with the words.
    """
    if len(atoms) > 1:
        return
    for pattern in _CHANGES:
        if match := pattern.search(text):
            raise Refused("order_has_a_meaning", match.group())
    role = _ROLES.search(text)
    if role and not atoms and not slots.names.fixed:
        raise Refused("order_has_a_meaning", role.group())
