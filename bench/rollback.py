"""A rollback to the release before, beside the recipe's script, which builds it again."""

import asyncio
import time
from functools import partial

from bench.environment import on_an_engine
from bench.recipe import Recipe
from bench.report import Report, interleaved
from deployd.status import Status
from tests.e2e.world import World


def run(quick: bool, report: Report) -> None:
    """Roll back again and again between two releases."""
    on_an_engine(partial(_measure, report, rounds=3 if quick else 15))
    report.ratio("rollback: deployd / script", "deployd", "script")
    report.bar("rollback to the release before", "<=", 2.0, "deployd", "s")


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
