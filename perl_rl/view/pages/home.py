"""The first page: the runs to choose from."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.render import page

router = APIRouter()


@router.get("/")
def home(request: Request) -> HTMLResponse:
    """All runs that this view was started with."""
    return page(request, "home.html")
