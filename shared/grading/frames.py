"""Messages between the pool and its grader processes: a 4-byte length, then JSON; never pickle."""

import json
import struct
from typing import Any

LENGTH = struct.Struct(">I")


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message, with its length first."""
    data = json.dumps(message).encode()
    return LENGTH.pack(len(data)) + data
