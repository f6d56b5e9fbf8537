"""Reads what wandb writes offline (``run-<id>.wandb``): records in LevelDB's log format, each a
protocol buffer of wandb's own. wandb has no such reader in Python."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = 7
_BLOCK = 32_768
_FULL, _LAST = 1, 4


def history(file: Path) -> list[dict[str, Any]]:
    """The rows that were logged, in their order."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append(
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
            )
    return rows


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B"
    place, record = _HEADER, b""
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        record += data[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        if kind in (_FULL, _LAST):
            yield record
            record = b""
