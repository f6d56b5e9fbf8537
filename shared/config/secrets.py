"""Finds the secret settings, so that a run does not write them into its files and logs.

A field with ``repr=False`` is secret; if its value is an address, only the password is.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

from shared.config.section import Section

_PREFIX = "PERL_SECRET_"
_SHORTEST_HIDDEN = 4
"""In characters; hiding shorter words would make logs unreadable and protect nothing."""


def secret_words(config: Section) -> frozenset[str]:
    """Tokens, keys and passwords that must not be logged, as written and with %-codes decoded."""
    found = {word for word in _words(config).values() if len(word) >= _SHORTEST_HIDDEN}
    return frozenset(found | {unquote(word) for word in found})


def without_secrets(config: Section) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration as plain values, with each secret replaced by ``${PERL_SECRET_...}``.

    Returns:
        The values, and the secret of each variable.
    """
    content, secrets = config.model_dump(mode="json"), {}
    for key, word in _words(config).items():
        *parents, last = key
        section = content
        for parent in parents:
            section = section[int(parent) if isinstance(section, list) else parent]
        variable = _PREFIX + "_".join(key).upper()
        secrets[variable] = word
        section[last] = section[last].replace(word, f"${{{variable}}}")
    return content, secrets


def _words(section: Section, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Key path of each secret that is set, with its secret part."""
    found: dict[tuple[str, ...], str] = {}
    for name, field in type(section).model_fields.items():
        value, place = getattr(section, name), (*above, name)
        if isinstance(value, Section):
            found |= _words(value, place)
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                found |= _words(one, (*place, str(index))) if isinstance(one, Section) else {}
        elif not field.repr and value:
            word = _password(value) if "://" in value else value
            found |= {place: word} if word else {}
    return found


def _password(address: str) -> str:
    """The password in an address, as written; empty without one.

    A Redis address may have its password after a question mark: then all of that part is secret.
    """
    parts = urlsplit(address)
    return parts.password or parts.query
