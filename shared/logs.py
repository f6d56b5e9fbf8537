"""One line a record on standard error: time, service, level, message."""

import logging
import sys


def configure(service: str, debug: bool = False) -> None:
    """Set up logging for a process; libraries speak from warning up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s {service} %(levelname)s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("shared", "services", "perl_rl"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
