"""A rollback to the release before, beside the recipe's script, which builds it again.

And the return of a release that is still watched, until a client has the answer of the one before.
"""

import asyncio
import time
from functools import partial

import httpx

from bench.environment import on_an_engine
from bench.recipe import Recipe
from bench.report import Report, interleaved
from deployd.status import Status
from tests.e2e.world import CONFIG, World


def run(quick: bool, report: Report) -> None:
    """Roll back again and again between two releases."""
    on_an_engine(partial(_measure, report, rounds=3 if quick else 15))
    on_an_engine(partial(_measure_returns, report, rounds=3 if quick else 15), CONFIG + '[app.watch]\nfor = "1h"\n')
    report.ratio("rollback: deployd / script", "deployd", "script")
    report.bar("rollback to the release before", "<=", 2.0, "deployd", "s")
    report.bar("return within the watch, until a client sees it", "<=", 0.3, "return", "s")


async def _measure(report: Report, here: World, *, rounds: int) -> None:
    for _ in range(2):
        await here.ended(await here.push())
    with Recipe(here.daemon.directory, here.repository.remote).removed_at_the_end() as recipe:
        await asyncio.to_thread(recipe.start_beside)
        for _, name in interleaved(rounds, ["deployd", "script"]):
            began = time.monotonic()
            if name == "deployd":
                deploy = await here.ended(await here.client.rollback(here.app))
                if deploy.status is not Status.LIVE:
                    raise RuntimeError(f"the rollback is {deploy.status}: {deploy.reason}")
                report.sample("deployd", time.monotonic() - began, "s")
            else:
                report.sample("script", await asyncio.to_thread(recipe.start_beside), "s")


async def _measure_returns(report: Report, here: World, *, rounds: int) -> None:
    first = await here.ended(await here.push())
    async with httpx.AsyncClient(base_url=here.daemon.public_url, trust_env=False) as client:
        for _ in range(rounds):
            bad = await here.ended(await here.push())
            await _watched(here)
            began = time.monotonic()
            back = await here.client.rollback(here.app)
            while (await client.get("/")).text != first.commit:
                pass
            report.sample("return", time.monotonic() - began, "s")
            if (
                back.number != first.number
                or (await here.client.show(here.app, bad.number)).status is not Status.REVERTED
            ):
                raise RuntimeError(f"{bad.name} did not return to {first.name} at once: {back.name} {back.status}")


async def _watched(here: World) -> None:
    """Wait until the release that stands by for the live one is known to be good."""
    async with asyncio.timeout(60):
        async for _ in here.client.events(here.app):
            if (await here.client.app(here.app)).watched is not None:
                return
