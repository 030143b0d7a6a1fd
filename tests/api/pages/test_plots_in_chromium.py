"""The plots of an app's page in a real browser: drawn from their tables, again when these change; readable without scripts."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from deployd.domain import GateResult
from deployd.samples import FINE, Sample
from deployd.status import Status
from tests.api.pages.given import WAY, ended, secured_desk
from tests.api.pages.tab import DESKTOP, PHONE, Scheme, Tab, tab
from tests.desk import A, B, Desk

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("one Chromium")]


class World:
    """A daemon that listens, and the browser."""

    def __init__(self, daemon: Desk, browser: Browser, url: str) -> None:
        self.daemon, self.browser, self.url = daemon, browser, url


def _evaluated(accuracy: float) -> GateResult:
    return GateResult(
        "evaluate", "passed", "good", {"n": 300, "accuracy": accuracy, "limits": {"accuracy": {"at_least": 0.9}}}
    )


async def _fail(daemon: Desk, subject: str) -> None:
    way = (Status.BUILDING, Status.FAILED)
    await ended(daemon.store, "iris", "f" * 40, subject, *way, steps=["fetch"], reason="the build failed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One daemon for all tests here: an app with two releases, a failure and an hour of traffic, and one with nothing."""
    async with secured_desk(tmp_path_factory.mktemp("plots"), "iris", "rose") as daemon:
        for commit, accuracy in ((A, 0.93), (B, 0.95)):
            steps = ["fetch", "build", "evaluate"]
            await ended(daemon.store, "iris", commit, "Retrain", *WAY, steps=steps, gates=[_evaluated(accuracy)])
        await _fail(daemon, "Break it")
        now = FINE.stretch(time.time())
        stretches = range(now - 3600, now - 10, FINE.seconds)
        samples = [Sample("iris", 2, at, 50, 1, 2, {2000: 40, 30_000: 10}) for at in stretches]
        await daemon.store.record_traffic(samples, dict.fromkeys(stretches, 10.0))
        daemon.target.live["iris"] = 2
        async with daemon.listening_publicly() as url:
            yield World(daemon, chromium, url)


async def _open(one: Tab, path: str) -> None:
    await one.open(path)
    await one.page.get_by_label("Token").fill("ada-token")
    await one.page.get_by_role("button", name="Log in").click()
    await one.page.wait_for_url(one.url + path)


def _plots(one: Tab) -> Locator:
    return one.page.locator("plot-view canvas")


async def test_each_plot_is_drawn_and_has_its_table_folded_away(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _open(one, "/apps/iris")
        await expect(_plots(one)).to_have_count(5)
        names = await one.page.locator("plot-view [role=img]").evaluate_all("all => all.map((x) => x.ariaLabel)")
        assert [name.partition(",")[0] for name in names] == [
            "Requests per second",
            "Requests that went wrong",
            "How long answers took",
            "Measured of each release's model",
            "How long deploys took",
        ]
        assert names[3].endswith("2 releases: accuracy 0.93 to 0.95, last 0.95")
        latency = one.page.locator("#plot-latency")
        await expect(latency.get_by_role("table", name="How long answers took")).to_be_hidden()
        await latency.get_by_text("As a table").click()
        await expect(latency.get_by_role("cell", name="30 ms").first).to_be_visible()
        releases = one.page.get_by_role("table", name="By release")
        await expect(releases.get_by_role("row").nth(1)).to_contain_text("#2")


async def test_something_is_painted_where_a_plot_is(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _open(one, "/apps/iris")
        await expect(_plots(one)).to_have_count(5)
        painted = await _plots(one).evaluate_all(
            "all => all.map((x) => x.getContext('2d').getImageData(0, 0, x.width, x.height).data.some((byte) => byte))"
        )
        assert painted == [True] * 5


async def test_a_deploy_that_ends_changes_the_plot_without_a_reload_and_leaves_its_table_open(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _open(one, "/apps/iris")
        await one.following()
        durations = one.page.locator("#plot-durations")
        await durations.get_by_text("As a table").click()
        before = await durations.locator("tbody tr[data-tone]").count()
        await one.page.evaluate("window.loadedOnce = true")
        await _fail(world.daemon, "Break it again")
        await expect(durations.locator("tbody tr[data-tone]")).to_have_count(before + 1)
        await expect(durations.get_by_role("table", name="How long deploys took")).to_be_visible()
        await expect(durations.locator("canvas")).to_have_count(1)
        label = await durations.locator("[role=img]").get_attribute("aria-label")
        assert label is not None
        assert f"{before + 1} deploys" in label
        assert await one.page.evaluate("window.loadedOnce")


async def test_another_length_of_time_is_one_click_away(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _open(one, "/apps/iris")
        await one.page.get_by_role("link", name="week").click()
        await expect(one.page.get_by_role("link", name="week")).to_have_attribute("aria-current", "true")
        await expect(_plots(one)).to_have_count(5)


async def test_an_app_with_nothing_to_show_says_what_to_do_next(world: World) -> None:
    async with tab(world.browser, world.url) as one:
        await _open(one, "/apps/rose")
        for text in (
            "No request came in this time. The app listens at http://127.0.0.1:8001.",
            "measure each candidate on labelled rows with [app.evaluate]",
            "Nothing is live yet, so nothing is proven.",
            "No deploy has begun yet. The next push to main is the first.",
        ):
            await expect(one.page.get_by_text(text)).to_be_visible()
        await expect(_plots(one)).to_have_count(0)


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark"])
async def test_axe_finds_nothing_in_the_plots_and_they_fit_the_window(
    world: World, scheme: Scheme, size: tuple[int, int]
) -> None:
    async with tab(world.browser, world.url, scheme=scheme, size=size) as one:
        await _open(one, "/apps/iris")
        await expect(_plots(one)).to_have_count(5)
        await one.page.locator("#plot-durations").get_by_text("As a table").click()
        assert (await one.violations(), await one.overflow()) == ([], [])


async def test_the_tables_are_there_without_scripts(world: World) -> None:
    async with tab(world.browser, world.url, scripts=False) as one:
        await _open(one, "/apps/iris")
        await expect(one.page.get_by_role("table", name="How long deploys took")).to_be_visible()
        await expect(one.page.get_by_role("row", name="#2 0.95")).to_be_visible()
