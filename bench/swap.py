"""Swaps under full load, with clients that keep their connection and clients that do not; beside the recipe's swaps."""

import asyncio
import statistics
from datetime import UTC, datetime, timedelta
from functools import partial

from bench.environment import on_an_engine
from bench.recipe import Recipe
from bench.report import Report
from deployd.api.answers import DeployAnswer
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import WHO, World

_AFTER = timedelta(seconds=0.5)
"""How long after the switch still counts as the swap: the old release drains and goes."""


def run(quick: bool, report: Report) -> None:
    """Measure ten swaps of ours under load, then three of the recipe's."""
    on_an_engine(partial(_measure, report, quick=quick))
    report.ratio("p99 in a swap / steady", "p99 in a swap", "p99 steady")
    report.bar("requests lost", "<=", 0, "deployd lost")
    report.bar("p99 in a swap / steady", "<=", 2.0, "p99 in a swap / steady")


async def _measure(report: Report, here: World, *, quick: bool) -> None:
    with Recipe(here.daemon.directory, here.repository.remote).removed_at_the_end() as recipe:
        await _ours(here, recipe, report, swaps=3 if quick else 10, at_least=5_000 if quick else 100_000)
        await asyncio.to_thread(recipe.replace)
        for _ in range(1 if quick else 3):
            await _theirs(recipe, report)


async def _ours(here: World, recipe: Recipe, report: Report, swaps: int, at_least: int) -> None:
    await here.ended(await here.push())
    await asyncio.to_thread(recipe.start_beside)
    load = Load(here.daemon.public_url)
    async with load.running(WHO, kept=8, fresh=8):
        for _ in range(swaps):
            began = datetime.now(UTC)
            await asyncio.sleep(2)
            report.sample("p99 steady", _p99(load.between(began, datetime.now(UTC))), "ms")
            deploy = await here.ended(await here.push())
            await asyncio.sleep(_AFTER.total_seconds())
            for phase, (start, end) in _phases(deploy).items():
                report.sample(f"p99 {phase}", _p99(load.between(start, end)), "ms")
            began = datetime.now(UTC)
            await asyncio.to_thread(recipe.start_beside)
            report.sample("p99 beside a plain build and run", _p99(load.between(began, datetime.now(UTC))), "ms")
        await load.reached(at_least)
    report.sample("deployd requests", load.sent, "")
    report.sample("deployd lost", len(load.failures), "")
    if went_back := [client.turns for client in load.clients if client.went_back]:
        report.note(f"an older release answered again: {went_back}")


def _phases(deploy: DeployAnswer) -> dict[str, tuple[datetime, datetime]]:
    """When each part of a deploy began and ended. `in a swap` is all that comes after the build."""
    if deploy.status is not Status.LIVE or deploy.live_at is None:
        raise RuntimeError(f"the deploy is {deploy.status}: {deploy.reason}")
    begun = {step.name: step.started_at for step in deploy.steps}
    end = deploy.live_at + _AFTER
    return {
        "in a swap": (begun["candidate"], end),
        "while fetching and building": (begun["fetch"], begun["candidate"]),
        "while the candidate starts": (begun["candidate"], begun["cut-over"]),
        "in the switch": (begun["cut-over"], deploy.live_at),
        "in the drain": (deploy.live_at, end),
    }


async def _theirs(recipe: Recipe, report: Report) -> None:
    load = Load(recipe.url)
    async with load.running(WHO, kept=8, fresh=8):
        await asyncio.sleep(1)
        report.sample("recipe down", await asyncio.to_thread(recipe.replace), "s")
    report.sample("recipe requests", load.sent, "")
    report.sample("recipe lost", len(load.failures), "")


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000 if len(seconds) > 1 else 0.0
