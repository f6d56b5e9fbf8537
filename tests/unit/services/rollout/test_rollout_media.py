"""The OpenAI routes read a picture as every other path of the project does."""

import base64

import pytest
from PIL import Image
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY

from services.rollout.engine import media
from shared.images import decode_image
from tests.picture_kinds import encoded, kinds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LIMIT = 200_000


def address(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> media.PictureConnector:
    monkeypatch.setenv("VLLM_MAX_IMAGE_PIXELS", str(LIMIT))
    return MEDIA_CONNECTOR_REGISTRY.load(media.CONNECTOR)


async def test_a_request_shows_the_pixels_that_the_run_trains_on(connector):
    for name, data, _ in kinds():
        expected = decode_image(data, name, LIMIT)
        for read in (
            connector.fetch_image(address(data)),
            await connector.fetch_image_async(address(data)),
        ):
            assert (read.media.size, read.media.tobytes()) == (expected.size, expected.tobytes())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (encoded(Image.new("RGB", (6000, 25)), "PNG"), "6000x25 pixels, one side more than 200"),
        (encoded(Image.new("RGB", (600, 600)), "PNG"), "600x600 pixels, more than"),
        (encoded(Image.linear_gradient("L"), "PNG")[:-400], "cannot be decoded"),
        (b"nothing", "cannot be decoded"),
    ],
)
async def test_a_picture_that_is_refused_is_the_clients_mistake(connector, data, problem):
    with pytest.raises(ValueError, match=f"image in the request: .*{problem}|{problem}"):
        await connector.fetch_image_async(address(data))


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://a/b.png",
        "https://a/b.png",
        "file:///etc/hosts",
        "/etc/hosts",
        "a.png",
        "",
        "data:,x",
    ],
)
async def test_nothing_but_the_request_itself_is_opened(connector, elsewhere):
    for read in (connector.fetch_image, connector.fetch_video, connector.fetch_audio):
        with pytest.raises(ValueError, match="send images as data: URIs"):
            read(elsewhere)
    with pytest.raises(ValueError, match="send images as data: URIs"):
        await connector.fetch_image_async(elsewhere)


async def test_damaged_base64_is_named(connector):
    with pytest.raises(ValueError, match="image in the request: is not base64"):
        await connector.fetch_image_async("data:image/png;base64,!!")
