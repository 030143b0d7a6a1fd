"""A newer push during a build: how long until everything of the old build is gone."""

import asyncio
import time
from functools import partial

from bench.ground import on_an_engine
from bench.report import Report
from deployd.demo import engine
from deployd.demo.engine import Engine
from tests.e2e.world import DOCKERFILE, World


def run(quick: bool, report: Report) -> None:
    """One slow build and one push each round."""
    report.absent("woodpecker", "not in any package registry; its documentation says stop 20 s, then kill")
    on_an_engine(partial(_measure, report, rounds=3 if quick else 9))
    report.bar("second 202 -> the old build's container is gone", "<=", 0.5, "container gone", "s")


async def _measure(report: Report, here: World, *, rounds: int) -> None:
    host = engine.ensure()
    for number in range(rounds):
        slow = await here.push(dockerfile=DOCKERFILE + f"RUN sleep 60.{number}\n")
        await here.says(slow, f"RUN sleep 60.{number}")
        await asyncio.to_thread(_until, host, f"sleep 60.{number}", True)
        fast = await here.push()
        began = time.monotonic()
        await asyncio.to_thread(_until, host, f"sleep 60.{number}", False)
        report.sample("container gone", time.monotonic() - began, "s")
        await _ends(here, slow.number, began, report)
        await here.ended(fast)


async def _ends(here: World, number: int, began: float, report: Report) -> None:
    await here.ended(await here.client.show(here.app, number))
    report.sample("recorded as superseded", time.monotonic() - began, "s")


def _until(host: Engine, command: str, present: bool) -> None:
    """Look at the engine every 5 ms until a container that runs `command` is there, or is not."""
    api = host.api()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running = [one for one in api.get("/containers/json?all=1") if command in one["Command"]]
        if bool(running) is present:
            return
        time.sleep(0.005)
    raise TimeoutError(f"the container of {command!r} did not {'appear' if present else 'go'}")
