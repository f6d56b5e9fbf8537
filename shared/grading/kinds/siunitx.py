r"""Numbers and units in the commands of LaTeX's siunitx: ``\num{1.2e3}``, ``\qty{18}{\cm}``.

``\number`` and ``\quantity`` are what some data sets write for ``\num`` and ``\qty``.
"""

import re

_OPTIONS = r"\s*(?:\[[^\[\]]*\]\s*)?"
_ARGUMENT = r"\{([^{}]*)\}"
# The argument of a unit may hold powers in braces: m.s^{-2}.
_UNIT_ARGUMENT = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_NUMBER = re.compile(rf"\\(?:number|num){_OPTIONS}{_ARGUMENT}")
_NUMBERS = re.compile(rf"\\numlist{_OPTIONS}{_ARGUMENT}")
_QUANTITY = re.compile(rf"\\(?:quantity|qty|SI){_OPTIONS}{_ARGUMENT}\s*{_UNIT_ARGUMENT}")
_UNIT = re.compile(rf"\\(?:unit|si){_OPTIONS}{_UNIT_ARGUMENT}")
_ANGLE = re.compile(rf"\\ang{_OPTIONS}{_ARGUMENT}")
_EXPONENT = re.compile(r"(?<=[\d.])\s*[eEdD]\s*([+-]?\d{1,3})")


def _table(pairs: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in pairs.split())


_PREFIXES = _table("nano=n micro=μ milli=m centi=c deci=d hecto=h kilo=k mega=M giga=G")
_UNITS = _table(
    "metre=m meter=m gram=g kilogram=kg second=s newton=N joule=J watt=W volt=V ampere=A ohm=Ω "
    "pascal=Pa hertz=Hz mole=mol litre=L liter=L kelvin=K coulomb=C minute=min hour=h day=day "
    "degree=° percent=% celsius=°C degreeCelsius=°C radian=rad tonne=t"
)
_POWERS_BEFORE = {"square": "^2", "cubic": "^3"}
_POWERS_AFTER = {"squared": "^2", "cubed": "^3"}
_TOKEN = re.compile(r"\\([a-zA-Z]+)|([^\\\s.~]+)|[.~]")


def without_siunitx(text: str) -> str:
    r"""The text with siunitx's commands as plain LaTeX: ``18\text{ cm}``, ``1.2\times 10^{3}``."""
    if "\\" not in text:
        return text
    text = _QUANTITY.sub(lambda match: f"{_number(match[1])}{_as_text(match[2])}", text)
    text = _NUMBERS.sub(lambda match: ", ".join(map(_number, match[1].split(";"))), text)
    text = _NUMBER.sub(lambda match: _number(match[1]), text)
    text = _UNIT.sub(lambda match: _as_text(match[1]), text)
    return _ANGLE.sub(lambda match: _angle(match[1]), text)


def _number(text: str) -> str:
    return _EXPONENT.sub(r"\\times 10^{\1}", text.strip())


def _angle(text: str) -> str:
    """Degrees, minutes and seconds between semicolons."""
    parts = zip(text.split(";"), ("^\\circ", "'", "''"), strict=False)
    return "".join(part.strip() + sign for part, sign in parts if part.strip())


def _as_text(unit: str) -> str:
    name = _unit(unit)
    return name if name in ("°", "%") else rf"\text{{ {name}}}"


def _unit(text: str) -> str:
    r"""``\kilo\metre\per\hour`` as ``km/h``; other text as it is."""
    name, prefix, power, operator = "", "", "", ""
    for match in _TOKEN.finditer(text.replace("\\cdot", ".").replace("\\,", ".")):
        command, plain = match[1], match[2]
        if command is None and plain is None:
            continue
        if command in _PREFIXES:
            prefix = _PREFIXES[command]
        elif command in _POWERS_BEFORE:
            power = _POWERS_BEFORE[command]
        elif command in _POWERS_AFTER:
            name += _POWERS_AFTER[command]
        elif command == "per":
            operator = "/"
        elif plain is not None and plain.startswith(("/", "^")):
            name += plain
        else:
            symbol = prefix + (_UNITS.get(command, command) if command else plain)
            name += (operator or ("·" if name else "")) + symbol + power
            prefix, power, operator = "", "", ""
    return name
