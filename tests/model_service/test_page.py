"""The pages in a real browser: every type of column, an answer that is never stale, the documentation without the network."""

import asyncio
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, async_playwright, expect
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from model_service import train
from model_service.fitting import fit
from model_service.quality import measure
from tests.api.pages.tab import DESKTOP, PHONE, Tab
from tests.model_service.kinds import TRUST, customers, mixed
from tests.model_service.process import Running, running
from tests.model_service.tasks import cancer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("one Chromium")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    out = tmp_path_factory.mktemp("customers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(customers(mixed(LogisticRegression(max_iter=500))), seed=0)
        train.write(fitted, out, form="auto", metrics=measure(fitted))
    with running(out, "--trust", TRUST[0]) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(chromium_path: Path) -> AsyncIterator[Browser]:
    expect.set_options(timeout=20_000)  # the machine may be busy
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def tab(chromium: Browser, url: str, size: tuple[int, int]) -> AsyncIterator[Tab]:
    page = await chromium.new_page(viewport={"width": size[0], "height": size[1]})
    try:
        yield Tab(page, url)
    finally:
        await page.close()


async def test_a_row_of_every_type_is_asked_shared_and_refused_at_its_place(
    chromium: Browser, service: Running
) -> None:
    async with tab(chromium, service.url, DESKTOP) as one:
        page, prediction = one.page, one.page.locator("#prediction")
        await one.open("/")
        await expect(prediction).to_have_text("stays")
        await page.get_by_label("age", exact=True).nth(1).fill("18")
        await page.get_by_label("city").first.select_option(label="\u2014 missing \u2014")
        await page.get_by_label("member").select_option(label="false")
        await expect(prediction).to_have_text("leaves")
        await expect(page.locator("#curl")).to_contain_text('"city":null')
        shared = page.url
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", await page.locator("#python").text_content() or "", stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await program.communicate()
        assert b"'label': 'leaves'" in printed
        await expect(page.get_by_label("since")).to_have_attribute("type", "datetime-local")
        await page.get_by_label("since").fill("")
        await expect(page.locator("#error")).to_contain_text("(since): expected a date and time")
        await expect(prediction).to_have_text("")
        await expect(page.get_by_label("since")).to_have_class("wide refused")
        await page.get_by_role("button", name="Example 1").click()
        await expect(prediction).to_have_text("stays")
        await expect(page.locator("#error")).to_be_hidden()
        assert await one.violations() == []
        await page.goto("about:blank")
        await page.goto(shared)
        await expect(prediction).to_have_text("leaves")
        assert one.faults == []


async def test_on_a_telephone_nothing_is_cut_and_the_answer_stays_in_view(chromium: Browser, service: Running) -> None:
    async with tab(chromium, service.url, PHONE) as one:
        await one.open("/")
        await expect(one.page.locator("#prediction")).to_have_text("stays")
        assert await one.overflow() == []
        await one.page.get_by_label("since").scroll_into_view_if_needed()
        await expect(one.page.locator("#prediction")).to_be_in_viewport()


async def test_with_thirty_features_the_answer_stays_in_view(chromium: Browser, tmp_path: Path) -> None:
    fitted = fit(cancer(DecisionTreeClassifier(random_state=0)), seed=0)
    train.write(fitted, tmp_path, form="auto", metrics=measure(fitted))
    with running(tmp_path) as service:
        for size in (DESKTOP, PHONE):
            async with tab(chromium, service.url, size) as one:
                await one.open("/")
                prediction = one.page.locator("#prediction")
                await expect(prediction).not_to_have_text("")
                await expect(prediction).to_be_in_viewport()
                await one.page.locator("input[type=number]").last.scroll_into_view_if_needed()
                await expect(one.page.locator("input[type=number]").last).to_be_in_viewport()
                await expect(prediction).to_be_in_viewport()
                assert await one.overflow() == []
                assert one.faults == []


async def test_an_answer_that_takes_long_does_not_stand_beside_new_values_as_if_it_were_theirs(
    chromium: Browser, service: Running
) -> None:
    async with tab(chromium, service.url, DESKTOP) as one:
        await one.open("/")
        prediction, waiting = one.page.locator("#prediction"), asyncio.Event()
        await expect(prediction).to_have_text("stays")

        async def hold(route: Route) -> None:
            await waiting.wait()
            await route.continue_()

        await one.page.route("**/predict", hold)
        await one.page.get_by_label("member").select_option(label="false")
        await expect(prediction).to_have_class("stale")
        waiting.set()
        await expect(prediction).not_to_have_class("stale")


async def test_a_service_that_is_gone_is_said_and_no_answer_stays(
    chromium: Browser, service: Running, iris_dir: Path
) -> None:
    with running(iris_dir) as short:
        async with tab(chromium, short.url, DESKTOP) as one:
            await one.open("/")
            await expect(one.page.locator("#prediction")).not_to_have_text("")
            short.stop()
            await one.page.locator("input[type=number]").first.fill("5")
            await expect(one.page.locator("#error")).to_have_text("The service does not answer.")
            await expect(one.page.locator("#prediction")).to_have_text("")


async def test_the_documentation_needs_no_other_host(chromium: Browser, service: Running) -> None:
    async with tab(chromium, service.url, DESKTOP) as one:
        await one.open("/docs")
        await expect(one.page.get_by_text("/predict", exact=True)).to_be_visible()
        assert one.faults == []
