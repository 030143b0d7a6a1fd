"""The static files of the pages: stylesheet, scripts, icons, each read once. Their address holds a digest of them all, so that a
browser may keep them for ever and still gets the new ones after an upgrade."""

import hashlib
from functools import cache
from importlib.resources import files
from mimetypes import guess_type

from fastapi import APIRouter
from starlette.responses import Response

from deployd.errors import RequestRefused

router = APIRouter(prefix="/static", include_in_schema=False)

_KEEP = "public, max-age=31536000, immutable"


@cache
def contents() -> dict[str, bytes]:
    """All static files, by name."""
    return {file.name: file.read_bytes() for file in (files(__package__) / "static").iterdir() if file.is_file()}


@cache
def digest() -> str:
    """A short digest of all static files."""
    whole = hashlib.sha256()
    for name, data in sorted(contents().items()):
        whole.update(f"{name} {len(data)}\n".encode() + data)
    return whole.hexdigest()[:12]


def address(name: str) -> str:
    """The path of a static file. KeyError when there is none of that name."""
    contents()[name]
    return f"/static/{digest()}/{name}"


@router.get("/{version}/{name}", response_class=Response)
async def static(version: str, name: str) -> Response:
    """One file. A page from before an upgrade asks for another version: it gets the present file, which is not kept."""
    if (data := contents().get(name)) is None:
        raise RequestRefused(404, f"there is no static file {name}")
    kind = guess_type(name)[0] or "application/octet-stream"
    keep = _KEEP if version == digest() else "no-store"
    return Response(data, media_type=kind, headers={"Cache-Control": keep})
