"""Images by the SHA-256 of their bytes; Redis keeps them while a group in flight shows them.

A node fetches each image once and keeps it decoded, in a cache of limited size.
"""

from collections import OrderedDict

import redis.asyncio
from PIL import Image

from shared.images import decode_image, digest
from shared.wire.keys import Keys


class ImageMissing(RuntimeError):
    """The store has no such image: the group that shows it is no longer in flight."""


class ImageStore:
    """Reads images by hash through a least-recently-used cache of `cache_bytes` decoded bytes."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, max_pixels: int, cache_bytes: int
    ) -> None:
        self._client = client
        self._prefix = keys.image_prefix
        self._max_pixels = max_pixels
        self._capacity = cache_bytes
        self._cache: OrderedDict[str, Image.Image] = OrderedDict()
        self._held = 0
        self.fetched_bytes = 0

    async def get(self, hashes: list[str]) -> list[Image.Image]:
        """The decoded images in the order of `hashes`; one round trip fetches those not cached.

        Raises:
            ImageMissing: when one is not in the store, or was damaged there.
        """
        found = {name: self._cache[name] for name in hashes if name in self._cache}
        wanted = [name for name in dict.fromkeys(hashes) if name not in found]
        if wanted:
            answers = await self._client.mget([self._prefix + name for name in wanted])
            for name, data in zip(wanted, answers, strict=True):
                found[name] = self._decode(name, data)
        for name in found:
            self._remember(name, found[name])
        return [found[name] for name in hashes]

    def _decode(self, name: str, data: bytes | None) -> Image.Image:
        if data is None:
            raise ImageMissing(f"image {name[:12]} is not in Redis (group not in flight)")
        if digest(data) != name:
            raise ImageMissing(f"image {name[:12]} in Redis does not match its SHA-256")
        self.fetched_bytes += len(data)
        return decode_image(data, name[:12], self._max_pixels)

    def _remember(self, name: str, picture: Image.Image) -> None:
        if name not in self._cache:
            self._cache[name] = picture
            self._held += _size(picture)
        self._cache.move_to_end(name)
        while self._held > self._capacity and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._held -= _size(dropped)


def _size(picture: Image.Image) -> int:
    return picture.width * picture.height * 3
