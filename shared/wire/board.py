"""The trainer announces the current policy version here; services wait for it here."""

from dataclasses import dataclass

import redis.asyncio

from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion


@dataclass(frozen=True)
class Announcement:
    """A published version and the address of its weights."""

    entry_id: str
    version: PolicyVersion
    url: str
    """The weights: ``GET url/manifest`` and ``GET url/data`` (with a range)."""


class VersionBoard:
    """A stream of versions, the newest last; a reader blocks on it instead of polling."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._name = keys.versions

    async def announce(self, version: PolicyVersion, url: str) -> None:
        """Make `version` the current one."""
        await self._client.xadd(
            self._name, {"version": str(version), "url": url}, maxlen=100, approximate=True
        )

    async def current(self) -> Announcement | None:
        """The current version, or None before the first."""
        entries = await self._client.xrevrange(self._name, count=1)
        return _announcement(entries[0]) if entries else None

    async def next_after(self, entry_id: str, block_s: float) -> Announcement | None:
        """The newest version after `entry_id` ("0": any); None if none comes within `block_s`."""
        answer = await self._client.xread({self._name: entry_id}, block=max(1, int(block_s * 1000)))
        return _announcement(answer[0][1][-1]) if answer else None


def _announcement(entry: tuple[bytes, dict[bytes, bytes]]) -> Announcement:
    entry_id, fields = entry
    return Announcement(
        entry_id=entry_id.decode(),
        version=PolicyVersion.parse(fields[b"version"].decode()),
        url=fields[b"url"].decode(),
    )
