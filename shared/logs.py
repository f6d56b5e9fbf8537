"""Logging to standard error: one line per record with time, service, level and message."""

import logging
import sys
from collections.abc import Collection


class HidingFormatter(logging.Formatter):
    """A formatter that writes ``***`` in place of secret words, tracebacks included."""

    def __init__(self, form: str, hidden: Collection[str]) -> None:
        super().__init__(form, "%H:%M:%S")
        # The longest first: one secret may be part of another.
        self._hidden = sorted(hidden, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, its traceback included."""
        text = super().format(record)
        for word in self._hidden:
            text = text.replace(word, "***")
        return text


def configure(service: str, debug: bool = False, hidden: Collection[str] = ()) -> None:
    """Set up logging for a process; libraries log from level WARNING up.

    Args:
        hidden: words that no line may show; see `shared.config.secrets.secret_words`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        HidingFormatter(f"%(asctime)s {service} %(levelname)s %(message)s", hidden)
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("shared", "services", "perl_rl"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
