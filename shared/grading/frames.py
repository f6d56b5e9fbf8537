"""The frames between the pool and its grader processes: a 4-byte length and JSON, never pickle."""

import json
import struct
from typing import Any

LENGTH = struct.Struct(">I")


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message, its length in front."""
    data = json.dumps(message).encode()
    return LENGTH.pack(len(data)) + data
