"""Reads the pictures in requests to the OpenAI routes as all other pictures are read.

vLLM's own reader clips grey of 16 and 32 bits; through its registry of media connectors a server
may bring its own.
"""

from PIL import Image
from vllm import envs
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector
from vllm.multimodal.media.base import MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

from shared.errors import UserError
from shared.images import decode_image

CONNECTOR = "perl"
"""Its name in vLLM's registry, for the environment variable ``VLLM_MEDIA_CONNECTOR``."""


@MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)
class PictureConnector(MediaConnector):
    """Reads images with `shared.images`, and everything else as vLLM does."""

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


class _PictureIO(ImageMediaIO):
    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        try:
            picture = decode_image(data, "in the request", envs.VLLM_MAX_IMAGE_PIXELS)
        except UserError as error:
            raise ValueError(str(error)) from None
        return MediaWithBytes(picture, data)
