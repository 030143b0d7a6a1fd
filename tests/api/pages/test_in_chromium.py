"""The pages in a real browser: a push is made and they change by themselves; axe-core finds nothing; they fit a phone."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from deployd.delivery import Delivery, Followed, Push
from deployd.domain import GateResult
from deployd.errors import DeliveryRejected
from deployd.status import Status
from tests.api.pages.given import WAY, ended, secured_desk
from tests.api.pages.tab import DESKTOP, PHONE, Scheme, Tab, tab
from tests.desk import MAIN, REPO, A, B, Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("one Chromium")]


class World:
    """A daemon that listens, and the browser."""

    def __init__(self, daemon: Desk, browser: Browser, url: str) -> None:
        self.daemon, self.browser, self.url = daemon, browser, url

    async def push(self, commit: str) -> None:
        """A push to main, and its delivery."""
        self.daemon.source.remotes[REPO][MAIN] = commit
        await self.daemon.scheduler.accept(
            Delivery("github", commit, "push"), [Followed(Push("x", MAIN, commit), ("iris",))]
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One daemon for all tests here, with a release and a failure to show."""
    async with secured_desk(tmp_path_factory.mktemp("world"), "iris", "rose") as daemon:
        rows = ({"case": 2, "path": "$.predictions[0]", "expected": "setosa", "got": "virginica"},)
        golden = GateResult("golden", "failed", "1 of 12 is wrong", {"cases": 12, "wrong": 1, "slowest_ms": 8.1}, rows)
        await ended(
            daemon.store, "rose", A, "First model", *WAY, steps=["fetch", "build", "ready"], model={"version": "1"}
        )
        await ended(
            daemon.store,
            "rose",
            B,
            "Train on May",
            Status.BUILDING,
            Status.FAILED,
            steps=["fetch", "build", "golden"],
            gates=[golden],
            reason="the golden gate failed: case 2 of 12",
            hint="look at the training data",
        )
        await daemon.deployed(A)
        await daemon.store.record_act(["rose"], "redelivered", "ada", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
        not_followed = Push("github.com/acme/iris", f"refs/heads/{'long' * 20}", A)
        daemon.services.not_kept.ignored(Delivery("github", "g", "push"), not_followed, "no app follows it")
        wrong = DeliveryRejected(401, "the signature is missing or wrong")
        daemon.services.not_kept.refused("github", {"client": ("192.0.2.9", 5)}, wrong)
        async with daemon.listening_publicly() as url:
            yield World(daemon, chromium, url)


async def _log_in(one: Tab, path: str = "/") -> None:
    await one.open(path)
    await one.page.get_by_label("Token").fill("ada-token")
    await one.page.get_by_role("button", name="Log in").click()
    await one.page.wait_for_url(one.url + path)


async def test_a_push_changes_the_pages_without_a_reload(world: World) -> None:
    async with tab(world.browser, world.url) as home, tab(world.browser, world.url) as app:
        await _log_in(home)
        await _log_in(app, path="/apps/iris")
        for one in (home, app):
            await one.following()
            await one.page.evaluate("window.loadedOnce = true")
        build = world.daemon.builder.held["c" * 40] = asyncio.Event()
        await world.push("c" * 40)
        row = home.page.locator("#app-iris")
        await expect(row.locator(".moving")).to_contain_text("building")
        await expect(row.get_by_role("progressbar")).to_be_visible()
        await expect(app.page.locator("#deploy-2")).to_contain_text("building")
        await expect(app.page.locator("#icon")).to_have_attribute("href", re.compile("icon-run"))
        build.set()
        await expect(row.locator(".serves")).to_contain_text("#2")
        await expect(app.page.locator("#deploy-2")).to_contain_text("live")
        await expect(app.page.locator("#said")).to_have_text("iris/2: live")
        for one in (home, app):
            assert await one.page.evaluate("window.loadedOnce")


async def test_a_button_asks_first_and_the_page_says_who_did_it(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _log_in(one, path="/apps/rose")
        await one.page.get_by_role("button", name="Pause…").click()
        dialog = one.page.get_by_role("dialog", name="Pause rose?")
        await dialog.get_by_role("button", name="Back").click()
        await expect(dialog).to_be_hidden()
        assert not (await world.daemon.store.state("rose")).paused
        await one.page.get_by_role("button", name="Pause…").click()
        await dialog.get_by_role("button", name="Pause").click()
        await expect(one.page.get_by_text("rose was paused by ada")).to_be_visible()
        await one.page.get_by_role("button", name="Resume…").click()
        await one.page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        await expect(one.page.get_by_role("button", name="Pause…")).to_be_visible()


async def test_text_typed_into_a_dialog_stays_when_the_page_changes(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _log_in(one, path="/apps/rose")
        await one.following()
        await one.page.get_by_role("button", name="Deploy…").click()
        field = one.page.get_by_role("textbox", name="Commit, branch or tag")
        await field.fill("my-branch")
        await world.daemon.scheduler.pause("rose", paused=True, by="bob")
        await expect(one.page.get_by_text("rose was paused by bob")).to_be_visible()
        await expect(field).to_have_value("my-branch")
        await expect(field).to_be_focused()
        await world.daemon.scheduler.pause("rose", paused=False)


async def test_a_login_that_ends_leads_back_to_the_login(world: World) -> None:
    async with tab(world.browser, world.url) as one, tab(world.browser, world.url) as other:
        await _log_in(one)
        (cookie,) = await one.page.context.cookies()
        await other.page.context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": world.url}])
        await other.open("/")
        await other.following()
        await one.page.get_by_role("button", name="Log out").click()
        await expect(one.page.get_by_role("heading", name="Log in")).to_be_visible()
        await world.daemon.scheduler.pause("rose", paused=False)
        await expect(other.page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_a_lost_connection_is_said_and_the_page_catches_up(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _log_in(one)
        await one.following()
        await one.page.context.set_offline(offline=True)
        world.daemon.services.stopping.set()  # the streams end
        await expect(one.page.locator("#connection")).to_contain_text("No connection to deployd since")
        world.daemon.services.stopping.clear()
        await world.daemon.scheduler.pause("rose", paused=True, by="carol")
        await one.page.context.set_offline(offline=False)
        await expect(one.page.locator("#connection")).to_be_empty(timeout=20_000)
        await expect(one.page.get_by_text("rose was paused by carol")).to_be_visible()
        one.faults.clear()  # htmx writes to the console that the connection was lost
        await world.daemon.scheduler.pause("rose", paused=False)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
async def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    world: World, scheme: Scheme, size: tuple[int, int]
) -> None:
    async with tab(world.browser, world.url, scheme=scheme, size=size) as one:
        await one.open("/login")
        assert (await one.violations(), await one.overflow()) == ([], [])
        await _log_in(one)
        for path in ("/", "/apps/rose", "/apps/rose/deploys/2", "/deliveries", "/apps/none"):
            await one.open(path)
            assert (await one.violations(), await one.overflow()) == ([], []), path
        await one.open("/apps/rose")
        await one.page.get_by_role("button", name="Deploy…").click()
        assert (await one.violations(), await one.overflow()) == ([], [])


async def test_the_pages_can_be_read_without_scripts(world: World, tmp_path: Path) -> None:
    async with tab(world.browser, world.url, scripts=False) as one:
        await _log_in(one)
        await expect(one.page.get_by_role("heading", name="Apps", exact=True)).to_be_visible()
        await one.page.get_by_role("link", name="rose", exact=True).click()
        await one.page.get_by_role("link", name="#2", exact=True).last.click()
        await expect(one.page.get_by_text("The golden gate failed")).to_be_visible()
        await expect(one.page.get_by_role("cell", name="virginica")).to_be_visible()


async def test_a_link_on_another_site_opens_the_page_of_who_is_logged_in(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _log_in(one)
        other = world.url.replace("127.0.0.1", "localhost")
        one.url = other
        await one.page.goto("about:blank")
        await one.page.goto(other + "/login")
        await one.page.evaluate(f"location.href = '{world.url}/apps/rose'")
        await expect(one.page.get_by_role("heading", name="rose")).to_be_visible()
        one.faults.clear()  # it left for another address, as it should


async def test_the_keyboard_reaches_the_content_and_the_buttons(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _log_in(one, path="/apps/rose")
        await one.page.keyboard.press("Tab")
        await expect(one.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await one.page.keyboard.press("Enter")
        await one.page.get_by_role("button", name="Deploy…").focus()
        await one.page.keyboard.press("Enter")
        dialog = one.page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        await one.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(one.page.get_by_role("button", name="Deploy…")).to_be_focused()
