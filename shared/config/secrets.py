"""Which settings are secret, so that they stay out of what a run writes.

A field that its section does not show (``repr=False``) is a secret; of an address, its password is.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

from shared.config.section import Section

_PREFIX = "PERL_SECRET_"
_SHORTEST_HIDDEN = 4
"""Characters; hiding shorter words would make logs unreadable and protect nothing."""


def secret_words(config: Section) -> frozenset[str]:
    """What must stand in no log: tokens, keys and passwords, as they are written and as sent."""
    found = {word for word in _words(config).values() if len(word) >= _SHORTEST_HIDDEN}
    return frozenset(found | {unquote(word) for word in found})


def without_secrets(config: Section) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration as plain values with ``${PERL_SECRET_...}`` for each secret.

    Returns:
        The values, and each variable's secret.
    """
    content, secrets = config.model_dump(mode="json"), {}
    for key, word in _words(config).items():
        *parents, last = key
        section = content
        for parent in parents:
            section = section[parent]
        variable = _PREFIX + "_".join(key).upper()
        secrets[variable] = word
        section[last] = section[last].replace(word, f"${{{variable}}}")
    return content, secrets


def _words(section: Section, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Place of each secret that is set to what of it is secret."""
    found: dict[tuple[str, ...], str] = {}
    for name, field in type(section).model_fields.items():
        value, place = getattr(section, name), (*above, name)
        if isinstance(value, Section):
            found |= _words(value, place)
        elif not field.repr and value:
            word = _password(value) if "://" in value else value
            found |= {place: word} if word else {}
    return found


def _password(address: str) -> str:
    """The password in an address as it is written there; empty when there is none.

    Redis' addresses may name it behind a question mark too: then all that stands there is secret.
    """
    parts = urlsplit(address)
    return parts.password or parts.query
