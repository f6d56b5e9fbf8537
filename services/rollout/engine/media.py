"""Reads the pictures in requests to the OpenAI routes as all other pictures are read.

vLLM's own reader clips grey of 16 and 32 bits, and fetches what an address names; through its
registry of media connectors a server may bring its own.
"""

import base64
import re
from typing import Any

from PIL import Image
from vllm import envs
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector
from vllm.multimodal.media.base import MediaIO, MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

from shared.errors import UserError
from shared.images import decode_image

CONNECTOR = "perl"
"""Its name in vLLM's registry, for the environment variable ``VLLM_MEDIA_CONNECTOR``."""


ONLY_DATA = "send images as data: URIs (data:image/png;base64,...); nothing else is opened"
"""What the API answers to any other way to name an image."""

_DATA = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


@MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)
class PictureConnector(MediaConnector):
    """Reads images with `shared.images`, from the request itself and from nowhere else."""

    def load_from_url(
        self, url: str, media_io: MediaIO[Any], *, fetch_timeout: int | None = None
    ) -> Any:
        """What a ``data:`` address holds.

        Raises:
            ValueError: for any other address, and when it cannot be decoded; the API answers 400.
        """
        _check_address(url)
        return super().load_from_url(url, media_io, fetch_timeout=fetch_timeout)

    async def load_from_url_async(
        self, url: str, media_io: MediaIO[Any], *, fetch_timeout: int | None = None
    ) -> Any:
        """As `load_from_url`."""
        _check_address(url)
        return await super().load_from_url_async(url, media_io, fetch_timeout=fetch_timeout)

    def fetch_image(self, image_url: str, *, image_mode: str | None = "RGB") -> Image.Image:
        """The image behind a ``data:`` address; it is RGB whatever `image_mode` says.

        Raises:
            ValueError: when it cannot be decoded; the API answers 400.
        """
        timeout = envs.VLLM_IMAGE_FETCH_TIMEOUT
        return self.load_from_url(image_url, _PictureIO(), fetch_timeout=timeout)

    async def fetch_image_async(
        self, image_url: str, *, image_mode: str | None = "RGB"
    ) -> Image.Image:
        """As `fetch_image`."""
        timeout = envs.VLLM_IMAGE_FETCH_TIMEOUT
        return await self.load_from_url_async(image_url, _PictureIO(), fetch_timeout=timeout)


def _check_address(url: str) -> None:
    if not _DATA.match(url):
        raise ValueError(ONLY_DATA)


class _PictureIO(ImageMediaIO):
    def load_base64(self, media_type: str, data: str) -> MediaWithBytes[Image.Image]:
        try:
            content = base64.b64decode(data, validate=True)
        except ValueError as error:
            raise ValueError(f"image in the request: is not base64 ({error})") from None
        return self.load_bytes(content)

    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        try:
            picture = decode_image(data, "in the request", envs.VLLM_MAX_IMAGE_PIXELS)
        except UserError as error:
            raise ValueError(str(error)) from None
        return MediaWithBytes(picture, data)
