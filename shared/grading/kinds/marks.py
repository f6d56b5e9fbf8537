r"""Marks that change an expression and that the maths library drops or does not tell apart.

It reads ``f'(x)`` as ``f(x)``, ``A^T`` as ``A``, ``1,2,\ldots,10`` as ``1,2,10``, ``\Delta`` as
``\delta``, and an angle's points as a product, so that ``\angle ABC`` is ``\angle BAC``.
"""

import re

_QUOTED = re.compile(r"(?<![\w)}\]'])'([^']*)'(?![\w'])")
# Degrees with minutes are one number.
_MINUTES = re.compile(r"°\s?\d+\s?'(?:\s?\d+(?:\.\d+)?\s?'')?")
_ANGLE_UNIT = re.compile(r"(?<=\d)\s?('+|°)$")
# Not the apostrophe of "Simpson's" or "students'".
_PRIMES = re.compile(r"(\\[a-zA-Z]+|(?<![a-z]{2})[a-z]|[A-Z\d)}\]])\s?('+)(?!s\b)")
_RAISED_T = (
    r"\^\s?(?:\{\s?)?(?:T|\\top|\\intercal|\\math(?:rm|sf|bf)\s?\{\s?T\s?\})(?![a-zA-Z])(?:\s?\})?"
)
_TWICE_TRANSPOSED = re.compile(rf"\(\s?([A-Za-z])\s?{_RAISED_T}\s?\)\s?{_RAISED_T}")
_TRANSPOSED = re.compile(rf"([A-Za-z)\]}}])\s?{_RAISED_T}")
_DENIED = re.compile(r"\\(?:not|neg|lnot)(?![a-z])")
_ANGLE = re.compile(r"(?:\\angle(?![a-z])|∠)\s?\{?\s?([A-Z])([A-Z])([A-Z])(?![A-Z])")
_GREEK = re.compile(
    r"\\([gG]amma|[dD]elta|[tT]heta|[lL]ambda|[xX]i|[sS]igma|[uU]psilon|[pP]hi|[pP]si|[oO]mega)"
    r"(?![a-zA-Z])"
)
_GREEK_SIGNS = {
    ord(sign): rf"\{name} "
    for signs, names in (
        ("ΓΔΘΛΞΣΦΨΩ", "Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"),
        ("γδθλξσφψω", "gamma delta theta lambda xi sigma phi psi omega"),
    )
    for sign, name in zip(signs, names.split(), strict=True)
}
# A number that ends in three full stops may only end a sentence.
_DOTS = re.compile(
    r"\\[lc]?dots[cbm]?(?![a-z])|(?<=[,+*-])\s?(?:…|\.{3,})|(?<=\.\d)(\d*)(?:…|\.{3,})"
)
_EQUALS = re.compile(r"(?<![<>!\\:])=")


def other_marks(gold: str, given: str) -> bool:
    """Whether two expressions differ in marks, so that they are not equal whatever they read as."""
    gold, given = (_MINUTES.sub("°", _QUOTED.sub(r"\1", side)) for side in (gold, given))
    units = [_ANGLE_UNIT.search(side) for side in (gold, given)]
    if units[0] and units[1] and units[0][1] != units[1][1]:
        return True
    angles = [_angles(side) for side in (gold, given)]
    if not (angles[0] <= angles[1] or angles[1] <= angles[0]):
        return True
    gold, given = _compared_parts(*(_ANGLE_UNIT.sub("", side) for side in (gold, given)))
    if _marks(gold) != _marks(given):
        return True
    return _other_case(gold, given) or _other_transposes(gold, given)


def _compared_parts(gold: str, given: str) -> tuple[str, str]:
    """Both equations whole, or else the values: ``f'(x)=2x`` may be answered by ``2x``."""
    parts = [_EQUALS.split(side) for side in (gold, given)]
    if all(len(found) == 2 for found in parts):
        return gold, given
    return parts[0][-1], parts[1][-1]


def _marks(side: str) -> set[str]:
    found = {base + primes for base, primes in _PRIMES.findall(side)}
    if _DENIED.search(side):
        found.add("not")
    if _DOTS.search(side):
        found.add("dots")
    return found


def _angles(side: str) -> set[str]:
    """The angles' names, with the points of the arms in order: ``CBA`` is ``ABC``."""
    return {
        min(one, other) + middle + max(one, other) for one, middle, other in _ANGLE.findall(side)
    }


def _other_case(gold: str, given: str) -> bool:
    names = [set(_GREEK.findall(side.translate(_GREEK_SIGNS))) for side in (gold, given)]
    lower = [{name.lower() for name in side} for side in names]
    return lower[0] == lower[1] and names[0] != names[1]


def _other_transposes(gold: str, given: str) -> bool:
    """Transposes of single letters must be the same; those of products are only counted as any."""
    found = [_TRANSPOSED.findall(_TWICE_TRANSPOSED.sub(r"\1", side)) for side in (gold, given)]
    single = all(base.isalpha() for side in found for base in side)
    return set(found[0]) != set(found[1]) if single else bool(found[0]) != bool(found[1])
