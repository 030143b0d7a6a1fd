"""The pages for people: `/` to try the model, and `/docs` with Swagger UI. They load nothing from other hosts."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent
# A page may connect to nothing but the service that it came from.
_TRY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
_DOCS_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src 'self' data:"
)


def add_pages(app: FastAPI) -> None:
    """Adds both pages and their files."""
    page, docs = (_FOLDER / "page.html").read_text(), (_FOLDER / "docs.html").read_text()

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def try_it() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": _TRY_POLICY})

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def documentation() -> Response:
        return HTMLResponse(docs, headers={"Content-Security-Policy": _DOCS_POLICY})

    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
