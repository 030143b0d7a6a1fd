"""`python -m tests.api.pages.pictures DIRECTORY` takes pictures of every page, in the sizes and colours that people have.

They are looked at by a person; docs/ shows two of them.
"""

import argparse
import asyncio
import hashlib
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from deployd.bringup.progress import Progress
from deployd.domain import GateResult
from deployd.goal import Trigger
from deployd.status import Status
from tests.api.pages.given import WAY, delivered, ended, secured_desk
from tests.api.pages.tab import DESKTOP, PHONE, Scheme, Tab, tab
from tests.desk import MAIN, REPO, Desk
from tests.testbed.browser import chromium

_APPS = ("churn", "iris", "pricing", "ranking")
_STEPS = ("fetch", "build", "candidate", "ready", "golden", "evaluate", "cut-over")
_SECONDS = {
    "fetch": 1.2,
    "build": 48.0,
    "candidate": 2.5,
    "ready": 3.1,
    "golden": 1.4,
    "evaluate": 9.0,
    "cut-over": 0.2,
}
_SUBJECTS = (
    "Train on the orders of May",
    "Drop the stale feature",
    "Raise the depth of the trees",
    "Pin scikit-learn 1.7",
)
_PAGES = {
    "home": "/",
    "app": "/apps/pricing",
    "deploy": "/apps/pricing/deploys/6",
    "moving": "/apps/iris/deploys/6",
    "deliveries": "/deliveries",
    "missing": "/apps/none",
}


_FOR_READERS = ("home", "deploy")


def _commit(app: str, at: int) -> str:
    return hashlib.sha1(f"{app} {at}".encode(), usedforsecurity=False).hexdigest()


def _evaluated(accuracy: float, live: float) -> GateResult:
    figures = {
        "n": 300,
        "accuracy": accuracy,
        "log_loss": 0.2143,
        "live": {"accuracy": live, "log_loss": 0.2201},
        "limits": {"accuracy": {"at_least": 0.9, "not_worse_than_live": 0.01}},
    }
    return GateResult("evaluate", "passed", f"accuracy {accuracy:.3f}, log_loss 0.214 on 300 rows", figures)


async def _history(daemon: Desk) -> None:
    golden = GateResult(
        "golden", "passed", "24 of 24 answers equal, slowest 6.1 ms", {"cases": 24, "wrong": 0, "slowest_ms": 6.1}
    )
    for app in _APPS:
        for at in range(1, 6):
            accuracy = 0.93 + at / 200
            trigger = Trigger("push", "g") if at % 3 else Trigger("manual", by="ada")
            how: dict[str, Any] = {
                "steps": _STEPS,
                "trigger": trigger,
                "gates": [golden, _evaluated(accuracy, accuracy - 0.004)],
            }
            how["model"] = {
                "name": app,
                "version": f"2026.11.{at}",
                "metrics": {"accuracy": accuracy, "n_train": 12_000},
            }
            await ended(daemon.store, app, _commit(app, at), _SUBJECTS[at % 4], *WAY, **how)
    rows = (
        {"case": 2, "path": "$.predictions[0].price", "expected": 412.5, "got": 39.0},
        {"case": 7, "path": "$.predictions[0].price", "expected": 88.0, "got": 8.1},
        {"case": 9, "name": "no area given", "text": "answers 500, expected 422"},
    )
    failed = GateResult(
        "golden", "failed", "case 2 of 24: $.predictions[0].price: 39.0, expected 412.5 (2 more of 24 are wrong)"
    )
    failed = GateResult(failed.name, "failed", failed.detail, {"cases": 24, "wrong": 3, "slowest_ms": 7.2}, rows)
    await ended(
        daemon.store,
        "pricing",
        _commit("pricing", 6),
        "Predict the price in thousands",
        Status.BUILDING,
        Status.FAILED,
        steps=_STEPS[:5],
        gates=[failed],
        reason="the golden gate failed: case 2 of 24: $.predictions[0].price: 39.0, expected 412.5 (2 more of 24 are wrong)",
        hint="deploy with accept_changes when the new answers are right, and record a new golden file",
        model={"name": "pricing", "version": "2026.11.6", "metrics": {"accuracy": 0.957, "n_train": 12_400}},
    )
    await delivered(
        daemon.store,
        "0a1f2c9e-5a3d-11ee-8c99-0242ac120002",
        _commit("churn", 9),
        app="churn",
        skip="only README.md has changed",
    )


def _age(directory: Path) -> None:
    """Let what happened just now have happened over days."""
    with closing(sqlite3.connect(directory / "deployd.db", timeout=10)) as database, database:
        now = time.time()
        for app, number in database.execute(
            "SELECT app, number FROM deploys WHERE status NOT IN ('queued', 'building')"
        ).fetchall():
            slow = 1 + (hash((app, number)) % 7) / 5
            began = now - (7 - number) * 9_000 * slow - 130
            at = began
            for name, position in database.execute(
                "SELECT name, position FROM steps WHERE app = ? AND number = ? ORDER BY position", (app, number)
            ).fetchall():
                after = at + _SECONDS.get(name, 1.0) * slow
                change = (
                    "UPDATE steps SET started_at = ?, finished_at = ? WHERE app = ? AND number = ? AND position = ?"
                )
                database.execute(change, (at, after, app, number, position))
                at = after
            change = (
                "UPDATE deploys SET created_at = ?1 - 2, started_at = ?1, live_at = iif(live_at IS NULL, NULL, ?2), "
                "finished_at = iif(finished_at IS NULL, NULL, ?2) WHERE app = ?3 AND number = ?4"
            )
            database.execute(change, (began, at, app, number))


@asynccontextmanager
async def _world() -> AsyncIterator[Desk]:
    with tempfile.TemporaryDirectory() as directory:
        async with secured_desk(Path(directory), *_APPS) as daemon:
            await _history(daemon)
            _age(Path(directory))
            daemon.target.live |= dict.fromkeys(_APPS, 5)
            commit = _commit("iris", 6)
            daemon.builder.held[commit] = asyncio.Event()
            daemon.source.remotes[REPO][MAIN] = commit
            await daemon.scheduler.deploy("iris", commit, "ada")
            await daemon.scheduler.pause("ranking", paused=True, by="grace")
            await daemon.becomes("iris", 6, Status.BUILDING)
            await asyncio.sleep(2)
            yield daemon


async def _take(browser: Browser, url: str, into: Path, size: tuple[int, int], scheme: Scheme) -> None:
    where = f"{'desktop' if size == DESKTOP else 'phone'}-{scheme}"
    async with tab(browser, url, size=size, scheme=scheme) as one:
        await one.open("/login")
        await _shot(one, into / f"login-{where}.png")
        await one.page.get_by_label("Token").fill("ada-token")
        await one.page.get_by_role("button", name="Log in").click()
        await one.page.wait_for_url(url + "/")
        for name, path in _PAGES.items():
            await one.open(path)
            await _shot(one, into / f"{name}-{where}.png")
            if name in _FOR_READERS and where == "desktop-light":
                await one.page.screenshot(path=into / f"{name}.png")
        await one.open("/apps/pricing")
        await one.page.get_by_role("button", name="Roll back…").click()
        await one.page.screenshot(path=into / f"dialog-{where}.png")


async def _shot(one: Tab, path: Path) -> None:
    await one.page.screenshot(path=path, full_page=True)


async def _take_all(into: Path) -> None:
    """All pictures."""
    async with _world() as daemon, daemon.listening_publicly() as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(Progress()), args=["--no-sandbox"])
        for size in (DESKTOP, PHONE):
            for scheme in ("light", "dark"):
                await _take(browser, url, into, size, scheme)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.api.pages.pictures")
    parser.add_argument("directory", type=Path)
    where = parser.parse_args().directory
    where.mkdir(parents=True, exist_ok=True)
    asyncio.run(_take_all(where))
