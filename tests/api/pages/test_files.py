"""The static files, and how long a browser may keep them."""

import re
from pathlib import Path

import httpx

from deployd.api.pages import files
from tests.api.pages.given import HEADERS
from tests.desk import Desk

STATIC = Path(files.__file__).with_name("static")


async def test_a_static_file_may_be_kept_for_ever_under_the_address_of_its_version(daemon: Desk) -> None:
    async with daemon.browser("192.0.2.7") as client:
        answer = await client.get(files.address("style.css"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        old = await client.get("/static/000000000000/style.css")
        assert (old.status_code, old.headers["cache-control"]) == (200, "no-store")


async def test_nothing_but_the_static_files_is_served_there(daemon: Desk) -> None:
    async with daemon.browser("192.0.2.7", **HEADERS) as client:
        for name in ("nothing.js", "..", "%2e%2e%2fpage.py", "..%2fpage.py"):
            assert (await client.get(f"/static/{files.digest()}/{name}")).status_code == 404, name


def test_vendored_files_are_listed_with_their_licence() -> None:
    said = (STATIC / "VENDORED.md").read_text()
    listed = set(re.findall(r"^\| `([^`]+)`", said, re.MULTILINE))
    assert {file.name for file in STATIC.glob("*.min.*")} <= listed
    for licence in re.findall(r"`(LICENSE[^`]+)`", said):
        assert (STATIC / licence).exists(), licence


async def test_an_answer_says_that_its_type_is_not_to_be_guessed(browser: httpx.AsyncClient) -> None:
    assert (await browser.get(files.address("page.js"))).headers["x-content-type-options"] == "nosniff"
