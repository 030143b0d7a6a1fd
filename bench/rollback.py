"""Back to the release before, beside building it anew with the recipe's script."""

import asyncio
import tempfile
import time
from pathlib import Path

from bench.recipe import Recipe
from bench.report import Report, interleaved
from deployd.demo import engine, images
from deployd.demo.leftovers import remove
from deployd.domain import Status
from tests.e2e.world import world


def run(quick: bool, report: Report) -> None:
    """Rollbacks to and fro between two releases."""
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        instance: list[str] = []
        try:
            asyncio.run(_measure(Path(name), report, 3 if quick else 15, instance))
        finally:
            for one in instance:
                remove(host.api(), one)
    report.ratio("rollback: deployd / script", "deployd", "script")
    report.bar("rollback to the release before", "<=", 2.0, "deployd", "s")


async def _measure(directory: Path, report: Report, rounds: int, instance: list[str]) -> None:
    async with world(directory) as here:
        instance.append(here.daemon.instance)
        for _ in range(2):
            await here.ended(await here.push())
        with Recipe(directory, here.repository.remote).removed_at_the_end() as recipe:
            await asyncio.to_thread(recipe.start_beside)
            for _, name in interleaved(rounds, ["deployd", "script"]):
                began = time.monotonic()
                if name == "deployd":
                    back = await here.ended(await here.client.rollback(here.app))
                    if back.status is not Status.LIVE:
                        raise RuntimeError(f"the rollback is {back.status}: {back.reason}")
                    report.sample("deployd", time.monotonic() - began, "s")
                else:
                    report.sample("script", await asyncio.to_thread(recipe.start_beside), "s")
