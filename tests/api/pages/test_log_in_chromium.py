"""The log of a deploy in a real browser: 50 MB are opened, scrolled, searched, linked, folded, and followed while they grow."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.api.pages.given import secured_desk
from tests.api.pages.tab import DESKTOP, PHONE, Scheme, Tab, tab
from tests.api.reading import deployed
from tests.desk import MAIN, REPO, A, B, Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("one Chromium")]

BIG, BUSY = "/apps/iris/deploys/1", "/apps/iris/deploys/2"
LINES = 690_000
MOST_NODES = 2000


class World:
    """A daemon with a deploy that has a log of 50 MB, and one that is in the middle of its build."""

    def __init__(self, daemon: Desk, browser: Browser, url: str) -> None:
        self.daemon, self.browser, self.url = daemon, browser, url

    def prints(self, text: str) -> None:
        """What the build prints."""
        self.daemon.builder.logs[B].write(text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with secured_desk(tmp_path_factory.mktemp("world"), "iris") as daemon:
        await deployed(daemon, A)
        log = daemon.directory / "logs/iris/1.log"
        with log.open("a") as file:
            file.write("\x1b[0;1;31mbold red\x1b[0m and \x1b[0;38;5;208morange\x1b[0m <b>not bold</b>\n")
            file.writelines(
                f"line {at} Collecting \x1b[0;33mpackage\x1b[0m of a host that is far, far away\n"
                for at in range(LINES)
            )
            file.write("the needle is at the end\n")
        assert log.stat().st_size > 50_000_000
        daemon.source.remotes[REPO][MAIN] = B
        held = daemon.builder.held[B] = asyncio.Event()
        await daemon.scheduler.deploy("iris", B, "a test")
        while B not in daemon.builder.logs:  # noqa: ASYNC110 - the builder tells nobody
            await asyncio.sleep(0.01)
        async with daemon.listening_publicly() as url:
            yield World(daemon, chromium, url)
        held.set()


async def _opened(one: Tab, path: str) -> Locator:
    """Log in and open the log of a deploy."""
    await one.open("/login")
    await one.page.get_by_label("Token").fill("reader-token")
    await one.page.get_by_role("button", name="Log in").click()
    await one.page.wait_for_url(one.url + "/")
    await one.open(path)
    await expect(one.page.locator("#log[data-ready]")).to_be_visible()
    pane = one.page.get_by_role("region", name="Log of iris/")
    await pane.scroll_into_view_if_needed()
    return pane


async def _nodes(one: Tab) -> int:
    found: int = await one.page.evaluate("document.querySelectorAll('*').length")
    return found


async def test_fifty_megabytes_are_opened_scrolled_searched_and_linked(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        pane = await _opened(one, BIG)
        red = pane.get_by_text("bold red")
        assert await red.evaluate("(one) => getComputedStyle(one).fontWeight") == "700"
        await expect(pane.get_by_text("<b>not bold</b>")).to_be_visible()
        await pane.press("End")
        await expect(pane.get_by_text("the needle is at the end")).to_be_visible()
        await pane.press("Control+f")
        search, count = one.page.get_by_label("Search the log"), one.page.locator("[data-part=count]")
        await expect(search).to_be_focused()
        await search.fill("LINE 345678 ")
        await expect(count).to_have_text("1 of 1", timeout=30_000)
        await expect(pane.locator(".row.hit").get_by_text("line 345678 ")).to_be_visible()
        await search.fill("line 68")
        await expect(count).to_contain_text("of 11,111", timeout=30_000)
        await search.press("Shift+Enter")
        await expect(pane.locator(".row.hit").get_by_text("line 689999 ")).to_be_visible()
        await expect(pane.get_by_text("line 350000 ")).to_have_count(0)
        assert await _nodes(one) < MOST_NODES
        await search.fill("nowhere to be seen")
        await expect(count).to_have_text("not found", timeout=30_000)
        before = await pane.evaluate("(one) => one.scrollTop")
        row = pane.locator(".row").nth(40)
        await row.locator("a.no").click()
        assert await pane.evaluate("(one) => one.scrollTop") == before
        assert await one.page.evaluate("location.hash") == f"#L{await row.locator('a.no').inner_text()}"


async def test_a_link_shows_its_lines_and_nothing_follows(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        pane = await _opened(one, f"{BIG}#L400000-L400002")
        marked = pane.locator(".row.marked")
        await expect(marked).to_have_count(3)
        await expect(marked.nth(1).locator("a.no")).to_have_text("400001")
        await expect(marked.nth(1)).to_be_in_viewport()
        await expect(one.page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")
        await marked.nth(2).locator("a.no").click(modifiers=["Shift"])
        await pane.get_by_role("link", name="400004", exact=True).click(modifiers=["Shift"])
        assert await one.page.evaluate("location.hash") == "#L400000-L400004"
        await one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await one.page.get_by_role("button", name="Copy the marked lines").click()
        await expect(one.page.locator("#log [role=status]")).to_have_text("Copied 5 lines.")
        copied: str = await one.page.evaluate("navigator.clipboard.readText()")
        assert copied.splitlines()[0] == "line 399981 Collecting package of a host that is far, far away"


async def test_a_log_that_grows_is_followed_until_its_reader_scrolls_up(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        pane = await _opened(one, BUSY)
        follow, more = one.page.get_by_role("button", name="Follow"), one.page.locator("[data-part=new]")
        await expect(follow).to_have_attribute("aria-pressed", "true")
        for turn in range(5):
            world.prints("".join(f"\x1b[36mpart {turn}.{at}\x1b[0m\n" for at in range(200)))
            await expect(pane.get_by_text(f"part {turn}.199", exact=True)).to_be_in_viewport()
        await pane.hover()
        await one.page.mouse.wheel(0, -300)
        await expect(more).to_have_text("↓ To the end")
        before = await pane.evaluate("(one) => one.scrollTop")
        world.prints("one more\n" * 300)
        await expect(more).to_have_text("↓ 300 new lines")
        assert await pane.evaluate("(one) => one.scrollTop") == before
        await expect(follow).to_have_attribute("aria-pressed", "true")
        await more.click()
        world.prints("the last one\n")
        await expect(pane.get_by_text("the last one")).to_be_in_viewport()
        await expect(more).to_be_hidden()
        assert await _nodes(one) < MOST_NODES


async def test_a_connection_that_breaks_neither_loses_nor_repeats_a_line(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        pane = await _opened(one, BUSY)
        await one.following()
        for turn in range(3):
            world.prints(f"before {turn}\n")
            await expect(pane.get_by_text(f"before {turn}", exact=True)).to_be_visible()
            world.daemon.services.stopping.set()  # the streams end
            world.prints(f"missed {turn}\n")
            world.daemon.services.stopping.clear()
            await expect(pane.get_by_text(f"missed {turn}", exact=True)).to_be_visible()
        lines = (world.daemon.directory / "logs/iris/2.log").read_bytes().count(b"\n")
        assert await pane.locator("a.no").last.inner_text() == str(lines)


async def test_steps_are_folded_and_a_build_cannot_print_one(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        world.prints("==> cut-over\n")
        pane = await _opened(one, BUSY)
        await expect(pane.get_by_text("==> cut-over")).to_be_in_viewport()
        fold = one.page.get_by_role("button", name="Fold all steps")
        await fold.click()
        await expect(pane.locator(".row")).to_have_count(2)
        build = pane.get_by_role("button", name="build")
        await expect(build).to_have_attribute("aria-expanded", "false")
        await build.press("Enter")
        await expect(build).to_have_attribute("aria-expanded", "true")
        await expect(build).to_be_focused()
        await expect(pane.get_by_text("building deployd/test/iris")).to_be_visible()
        await fold.click()
        await one.page.get_by_label("Search the log").fill("building deployd")
        await expect(pane.locator(".row.hit")).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
async def test_axe_finds_nothing_in_a_log_and_it_fits_the_window(
    world: World, size: tuple[int, int], scheme: Scheme
) -> None:
    async with tab(world.browser, world.url, size=size, scheme=scheme) as one:
        await _opened(one, f"{BIG}#L3-L5")
        assert (await one.violations(), await one.overflow()) == ([], [])


async def test_a_log_can_be_read_without_scripts(world: World) -> None:
    async with tab(world.browser, world.url, scripts=False) as one:
        await one.open("/login")
        await one.page.get_by_label("Token").fill("reader-token")
        await one.page.get_by_role("button", name="Log in").click()
        await one.open(BIG)
        await expect(one.page.get_by_text("the needle is at the end")).to_be_visible()
        await expect(one.page.get_by_role("link", name="All of it, as text")).to_be_visible()


async def test_the_output_of_a_release_is_shown_as_it_comes(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await one.open("/login")
        await one.page.get_by_label("Token").fill("reader-token")
        await one.page.get_by_role("button", name="Log in").click()
        await one.page.wait_for_url(one.url + "/")
        await one.open("/apps/iris")
        output = one.page.get_by_role("region", name="Output of iris")
        await expect(output.get_by_text("two")).to_be_visible()
        await one.following()
        world.daemon.target.more.set()
        await expect(output.get_by_text("three").first).to_be_visible()
        world.daemon.target.more.clear()
        assert (await one.violations(), await one.overflow()) == ([], [])
