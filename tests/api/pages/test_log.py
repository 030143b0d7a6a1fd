"""What the page of a deploy has of its log before a script shows all of it."""

from tests.api.pages.given import HEADERS
from tests.api.reading import deployed
from tests.desk import A, Desk

PAGE = "/apps/iris/deploys/1"


def _written(daemon: Desk, text: str) -> None:
    with daemon.logs.open("iris", 1) as log:
        log.write(text)


async def test_a_page_has_the_last_lines_of_the_log_as_text(daemon: Desk) -> None:
    await deployed(daemon, A)
    _written(daemon, "".join(f"\x1b[31mline {number}\x1b[0m <b>\n" for number in range(1000)))
    async with daemon.browser(**HEADERS) as browser:
        page = (await browser.get(PAGE)).text
    assert "line 999 &lt;b&gt;\n" in page
    assert "line 500 " in page
    assert "line 499 " not in page
    assert "\x1b" not in page
    assert "The last lines, from line" in page


async def test_a_page_holds_not_more_than_half_a_mebibyte_of_the_log(daemon: Desk) -> None:
    await deployed(daemon, A)
    _written(daemon, f"{'x' * 100_000}\n" * 20 + "y" * 2_000_000)
    async with daemon.browser(**HEADERS) as browser:
        assert len((await browser.get(PAGE)).content) < 600_000


async def test_a_page_follows_the_log_from_where_its_lines_end(daemon: Desk) -> None:
    await deployed(daemon, A)
    _written(daemon, "the end\n")
    size = (daemon.directory / "logs/iris/1.log").stat().st_size
    async with daemon.browser(**HEADERS) as browser:
        assert f"/api/v1/events?app=iris&amp;log=iris/1&amp;from={size}" in (await browser.get(PAGE)).text


async def test_a_deploy_without_a_log_says_so(daemon: Desk) -> None:
    await deployed(daemon, A)
    (daemon.directory / "logs/iris/1.log").unlink()
    async with daemon.browser(**HEADERS) as browser:
        assert "There is no log" in (await browser.get(PAGE)).text
