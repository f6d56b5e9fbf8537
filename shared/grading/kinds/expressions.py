r"""The spelling of expressions that the maths library reads as they are meant.

The library adds numbers that stand side by side, as for ``2\frac{1}{2}``: it reads ``2(3)`` and
``2\ 3`` as 5. Products get their sign here, and what stays ambiguous is not read.
"""

import re

_SPELLINGS = tuple(
    (re.compile(spelling), latex)
    for spelling, latex in (
        (r"√\s?\(([^()]*)\)|√\s?(\d+|[a-z])", r"\\sqrt{\1\2}"),
        (r"∛\s?\(([^()]*)\)|∛\s?(\d+|[a-z])", r"\\sqrt[3]{\1\2}"),
        ("∠", r"\\angle "),
        (r"(\d+)\s?°\s?(\d+)\s?'(?:\s?(\d+(?:\.\d+)?)\s?'')?", r"(\1+\2/60+0\3/3600)°"),
        ("°", r"^\\circ "),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])|π", r"\\pi "),
        (r"∞|(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"∪|(?<=[)\]])\s?U\s?(?=[(\[])", r"\\cup "),
        ("∩", r"\\cap "),
        ("∈", r"\\in "),
        ("△", r"\\triangle "),
        ("∥", r"\\parallel "),
        ("⊥", r"\\perp "),
        ("≤|≦|⩽|<=|\\\\leqslant(?![a-z])", r"\\le "),
        ("≥|≧|⩾|>=|\\\\geqslant(?![a-z])", r"\\ge "),
        ("≠|!=", r"\\ne "),
        ("≈", r"\\approx "),
        (r"(?<![a-zA-Z\\])(sin|cos|tan|log|ln)(?![a-zA-Z])", r"\\\1 "),
        (r"∅|\\varnothing(?![a-z])", r"\\emptyset "),
        ("±", r"\\pm "),
        ("∓", r"\\mp "),
        ("×", r"\\times "),
        ("÷", r"\\div "),
        (r"\^\s?(?:\{\s?\\(?:top|intercal)\s?\}|\\(?:top|intercal)(?![a-z]))", "^T"),
        ("θ", r"\\theta "),
        ("α", r"\\alpha "),
        ("β", r"\\beta "),
        ("γ", r"\\gamma "),
        ("λ", r"\\lambda "),
        (r"(?<=[\w)}])\s?\*\*\s?", "^"),
        (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?!\w)", r"\1*10^{\2}"),
    )
)
_MIXED = re.compile(r"(?<![\w.^}])(\d{1,9})\s(\d{1,9})\s?/\s?(\d{1,9})(?!\w)", re.ASCII)
_IMPROPER = re.compile(r"(?<![\w.^])(\d+)\s?(?=\\frac\s?\{(\d+)\}\s?\{(\d+)\})", re.ASCII)
# A number before a bracket, and a bracket or a fraction before a number, is a factor. A power or an
# index of a name is none: x_2(3), log_2(8).
_FACTORS = re.compile(
    r"(?<![\w.^\\])(\d+(?:\.\d+)?)\s?"
    r"(?=[(\[]|\\\{|e\s?\^|\\(?:[dt]?binom|det|lfloor|lceil|lvert)(?![a-z]))"
    r"|(?<=[)])\s?(?=[\d(]|\\frac|\\sqrt)"
    r"|(\\frac\s?\{[^{}]*\}\s?\{[^{}]*\})\s?(?=\d|\\frac)",
    re.ASCII,
)
# "2 3", "2{3}" and "2 3/4 5" are no numbers.
_SIDE_BY_SIDE = re.compile(
    r"(?<![\\a-zA-Z_^])\d\s+[\d.]|(?<![\w.^}])\d+\s*\{|(?<![_^\]a-zA-Z\d}])\{\s*\d+\s*\}\s*[\d{]",
    re.ASCII,
)
_MATRIX = re.compile(r"\\begin\s?\{")
_COMMAND = re.compile(r"\\(?:begin|end)\s?\{[^{}]*\}|\\[a-zA-Z]+")
_WORD = re.compile(r"[A-Za-z]+")
_VOWEL = re.compile(r"[aeiou]", re.IGNORECASE)
_FUNCTIONS = re.compile(
    r"sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|"
    r"lim|max|min|mod|gcd|lcm|det|deg|rad|sqrt|and|or|pi|cis|inf|infinity|"
    r"floor|ceil|rank|trace|percent|dim|ker"
)
_SHORT_WORDS = frozenset(("yes", "one", "two", "six", "ten", "odd", "all", "any", "not"))
_WHOLE_WORDS = frozenset(["no", "on", "up"])
# Statements about figures, which the library does not read.
_FIGURES = re.compile(r"\\(?:parallel|perp|sim|simeq|cong|overparen|overarc|wideparen)(?![a-z])")
_PHRASE = re.compile(r"[A-Za-z]{3,}(?:[\s-]+[A-Za-z]+)*")
_LEAST_WORD = 4


def spelled(text: str) -> str:
    r"""The expression in the spelling of the maths library: ``2√3`` as ``2\sqrt{3}``."""
    text = text.strip()
    for spelling, latex in _SPELLINGS:
        text = spelling.sub(latex, text)
    text = _MIXED.sub(_mixed, text)
    return " ".join(text.split())


def factored(text: str) -> str:
    r"""The expression with a sign between factors that the library would add: ``2\cdot (3)``."""
    return _FACTORS.sub(_product, _IMPROPER.sub(_improper, text))


def is_readable(text: str) -> bool:
    """Whether no two numbers stand side by side."""
    return bool(_MATRIX.search(text)) or not _SIDE_BY_SIDE.search(text)


def says_words(text: str, gold: bool = False) -> bool:
    """Whether an expression has words of a language: names of points and functions are none.

    Letters alone are a word when a gold answer consists of them: "abc" is not "cab".
    """
    if text.lower() in _WHOLE_WORDS or (gold and _PHRASE.fullmatch(text)):
        return True
    if _FIGURES.search(text):
        return True
    return any(map(_is_word, _WORD.findall(_COMMAND.sub(" ", text))))


def _is_word(word: str) -> bool:
    plain = word.lower()
    if word.isupper() or _FUNCTIONS.fullmatch(plain):
        return False
    return plain in _SHORT_WORDS or (len(word) >= _LEAST_WORD and bool(_VOWEL.search(word)))


def _mixed(match: re.Match[str]) -> str:
    whole, upper, lower = match.groups()
    return f"({whole}+{upper}/{lower})" if int(upper) < int(lower) else match[0]


def _improper(match: re.Match[str]) -> str:
    r"""``2\frac{3}{1}`` is a product: only a proper fraction makes a mixed number."""
    number, upper, lower = match.groups()
    return match[0] if int(upper) < int(lower) else rf"{number}\cdot "


def _product(match: re.Match[str]) -> str:
    return rf"{match[1] or match[2] or ''}\cdot "
