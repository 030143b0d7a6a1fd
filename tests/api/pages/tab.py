"""A tab of Chromium on a daemon, which notes what must not happen: errors of scripts, blocked content, requests to elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request

AXE = (Path(__file__).with_name("axe") / "axe.min.js").read_text()
DESKTOP, PHONE = (1280, 900), (390, 844)
Scheme = Literal["light", "dark"]
_EXPECTED = ("Failed to load resource",)  # what a test provokes; the page itself says it


class Tab:
    """One page, and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._asked)

    async def open(self, path: str) -> None:
        """Go to a page, and wait until it follows the events."""
        await self.page.goto(self.url + path)

    async def following(self) -> None:
        """Wait until the page has its stream of events."""
        await self.page.locator("#events[data-state=open]").wait_for(state="attached")

    async def violations(self) -> list[str]:
        """What axe-core finds wrong, as `rule: element`."""
        known = len(self.faults)
        await self.page.evaluate(AXE)
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        del self.faults[known:]  # axe writes styles into shadow trees, which the policy of the pages blocks
        return [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    async def overflow(self) -> list[str]:
        """The elements that are wider than the window."""
        script = """() => [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, .unseen, .skip"))
            .map((one) => `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 40)}`)"""
        found: list[str] = await self.page.evaluate(script)
        return found

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_EXPECTED):
            self.faults.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith("data:") and urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.faults.append(f"asked for {request.url}")


@asynccontextmanager
async def tab(
    browser: Browser, url: str, *, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light", scripts: bool = True
) -> AsyncIterator[Tab]:
    """A tab with cookies of its own. At its end, nothing must have gone wrong in it."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion="reduce",
        java_script_enabled=scripts,
    )
    try:
        made = Tab(await context.new_page(), url)
        yield made
        assert made.faults == []
    finally:
        await context.close()
