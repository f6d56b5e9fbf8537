"""Whether expressions have the same values: by numbers, with errors relative to their size.

`math_verify.verify` rounds to six decimals and drops what is below 1e-15, so that 1.6e-19 equals
9.1e-31. Here constants are compared as numbers, and other expressions that it finds equal are
checked at some points. Only grader processes import this: reading an expression can take for ever.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from sympy import (
    Abs,
    Basic,
    Eq,
    Expr,
    Float,
    I,
    MatrixBase,
    Rational,
    S,
    Set,
    Symbol,
    Tuple,
    oo,
    solve,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Or
from sympy.sets import FiniteSet, Interval

from shared.grading.kinds.quantities import close

_DIGITS = 40
_EXACT = Fraction(1, 10**30)
_ROUNDED = Fraction(5, 10**5)
# Values for variables: neither small nor special, and positive, so that roots and logarithms exist.
_POINTS = (Rational(137, 101), Rational(229, 83), Rational(61, 97))


_FORMS = (MatrixBase, Interval, FiniteSet, Tuple, And)


def same_constant(gold: Basic, given: Basic) -> bool | None:
    """Whether two constants are equal; None when one is no constant."""
    if not (_is_constant(gold) and _is_constant(given)):
        return None
    rounded = gold.has(Float) + given.has(Float)
    right, said = _exact(gold), _exact(given)
    if right == said:
        return bool(right.is_finite) or right in (oo, -oo)
    if right.is_Rational and said.is_Rational:
        return close(Fraction(right.p, right.q), Fraction(said.p, said.q), rounded)
    numbers, others = _parts(right), _parts(said)
    if numbers is None or others is None:
        return False
    pairs = list(zip(numbers, others, strict=True))
    size = max(abs(number) for pair in pairs for number in pair)
    return all(_near(one, other, size, rounded) for one, other in pairs)


def with_imaginary_unit(gold: Basic, given: Basic) -> tuple[Basic, Basic]:
    """Both sides with ``i`` as the imaginary unit, when it is the only name in them."""
    if not (isinstance(gold, Expr) and isinstance(given, Expr)):
        return gold, given
    names = gold.free_symbols | given.free_symbols
    if not names or {str(name) for name in names} != {"i"}:
        return gold, given
    unit = dict.fromkeys(names, I)
    return gold.xreplace(unit), given.xreplace(unit)


def same_region(gold: Any, given: Any) -> bool | None:
    """Whether an inequality with an absolute value has the other side's solutions; None for others.

    The library compares inequalities side by side: ``|x-1|<2`` is not its ``-1<x<3``.
    """
    if not any(isinstance(side, Relational) and side.has(Abs) for side in (gold, given)):
        return None
    right, said = _solutions(gold), _solutions(given)
    names = {str(name) for side in (gold, given) for name in side.free_symbols}
    if right is None or said is None or len(names) != 1:
        return None
    return bool(right == said)


def _solutions(side: Any) -> Any:
    if isinstance(side, Set):
        return side
    inequality = isinstance(side, (Relational, And, Or)) and not isinstance(side, Eq)
    return side.as_set() if inequality and len(side.free_symbols) == 1 else None


def says_nothing(side: Any) -> bool:
    """Whether reading has already decided the expression: ``1>2`` is false, ``(7,4]`` is empty."""
    return isinstance(side, BooleanAtom) or side is S.EmptySet


def may_be_equal(gold: Any, given: Any) -> bool:
    """False when two expressions of the same form certainly have different values."""
    if isinstance(gold, Relational) and isinstance(given, Relational):
        return type(gold) is not type(given) or _same_relation(gold, given)
    for form in _FORMS:
        if isinstance(gold, form) and isinstance(given, form):
            right, said = _elements(gold), _elements(given)
            pairs = zip(right, said, strict=True) if len(right) == len(said) else ()
            return all(may_be_equal(*pair) for pair in pairs)
    gold, given = _value(_single(gold)), _value(_single(given))
    if not (isinstance(gold, Expr) and isinstance(given, Expr)):
        return True
    same = same_constant(gold, given)
    return _same_at_points(gold, given) if same is None else same


def _same_relation(gold: Relational, given: Relational) -> bool:
    """Whether relations with one left side have one right side, and equations have solutions.

    The library finds two equations equal when neither has a real solution.
    """
    if gold.lhs == given.lhs:
        return may_be_equal(gold.rhs, given.rhs)
    sides = (gold.lhs, gold.rhs, given.lhs, given.rhs)
    if not isinstance(gold, Eq) or not all(isinstance(side, Expr) for side in sides):
        return True
    if gold.free_symbols != given.free_symbols:
        return False
    one, other = gold.lhs - gold.rhs, given.lhs - given.rhs
    if _same_at_points(one, other) or _same_at_points(one, -other):
        return True
    return bool(solve(gold, *gold.free_symbols))


def _single(side: Any) -> Any:
    """The element of a set of one."""
    return side.args[0] if isinstance(side, FiniteSet) and len(side.args) == 1 else side


def _value(side: Any) -> Any:
    return side.rhs if isinstance(side, Relational) else side


def _elements(side: Any) -> list[Any]:
    if isinstance(side, FiniteSet):
        return _ordered(map(_value, side.args))
    if isinstance(side, Interval):
        return [side.start, side.end]
    if isinstance(side, And):
        # The library's own class keeps the order that was written.
        return list(getattr(side, "_unsorted_args", side.args))
    return list(side if isinstance(side, MatrixBase) else side.args)


def _ordered(elements: Iterable[Any]) -> list[Any]:
    """The constants by size; other elements of a set cannot be matched one by one."""
    values = [(_parts(one), one) for one in elements if _is_constant(one)]
    return [one for parts, one in sorted(values, key=lambda pair: pair[0] or ()) if parts]


def _same_at_points(gold: Expr, given: Expr) -> bool:
    names = sorted(gold.free_symbols | given.free_symbols, key=str)
    if not names or not all(isinstance(name, Symbol) for name in names):
        return True
    rounded = gold.has(Float) + given.has(Float)
    for turn in range(len(_POINTS)):
        point = {
            name: _POINTS[(turn + place) % len(_POINTS)] + place // len(_POINTS)
            for place, name in enumerate(names)
        }
        numbers, others = _parts(gold.subs(point)), _parts(given.subs(point))
        if numbers is None or others is None:
            continue
        pairs = list(zip(numbers, others, strict=True))
        size = max(abs(number) for pair in pairs for number in pair)
        allowed = _ROUNDED if rounded else Fraction(1, 10**12)
        if any(abs(one - other) > allowed * size for one, other in pairs):
            return False
    return True


def _is_constant(side: Any) -> bool:
    return (
        isinstance(side, Expr) and not isinstance(side, (MatrixBase, Set)) and not side.free_symbols
    )


def _exact(side: Basic) -> Any:
    """The value with its decimals as the fractions that they are written as."""
    decimals = {one: Rational(str(one)) for one in side.atoms(Float)}
    return side.xreplace(decimals).doit()


def _parts(side: Basic) -> tuple[Fraction, Fraction] | None:
    """Real and imaginary part, or None when the value is no finite number."""
    value = _exact(side).evalf(_DIGITS)
    real, imaginary = value.as_real_imag()
    if not (real.is_Number and imaginary.is_Number and real.is_finite and imaginary.is_finite):
        return None
    right, up = Rational(real), Rational(imaginary)
    return Fraction(right.p, right.q), Fraction(up.p, up.q)


def _near(one: Fraction, other: Fraction, size: Fraction, rounded: int) -> bool:
    if abs(one - other) <= _EXACT * size:
        return True
    return rounded > 0 and close(one, other, rounded)
