"""Seeds for every random choice of a run, derived from its one seed."""

import hashlib
import random


def derive(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and is the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> random.Random:
    """A generator seeded with `derive`."""
    return random.Random(derive(*parts))
