"""The images of a run: only by the SHA-256 of their content, only recorded ones."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import Response

from perl_rl.view.images import DIGEST, small, whole
from perl_rl.view.runs import Run, run_of
from shared.errors import UserError

router = APIRouter()

_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get("/runs/{run}/images/{digest}")
def image(run: Annotated[Run, Depends(run_of)], digest: str) -> Response:
    """An image as the sampler was given it."""
    try:
        found = whole(run.folder, _checked(digest))
    except UserError as error:
        raise HTTPException(404, str(error)) from None
    if found is None:
        raise HTTPException(404, "This image is not kept.")
    return Response(found[0], media_type=found[1], headers=_FOR_EVER)


@router.get("/runs/{run}/small/{digest}.webp")
def small_image(run: Annotated[Run, Depends(run_of)], digest: str) -> Response:
    """The same, small."""
    try:
        found = small(run.folder, _checked(digest))
    except UserError as error:
        raise HTTPException(404, str(error)) from None
    if found is None:
        raise HTTPException(404, "This image is not kept.")
    return Response(found, media_type="image/webp", headers=_FOR_EVER)


def _checked(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise HTTPException(404, "An image's name is 64 hexadecimal digits.")
    return digest
