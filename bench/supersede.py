"""A newer push during a build: the time until the old build's container is gone."""

import asyncio
import time
from functools import partial

from bench.environment import on_an_engine
from bench.report import Report
from deployd.bringup import engine
from deployd.bringup.engine import Engine
from tests.e2e.world import DOCKERFILE, World


def run(quick: bool, report: Report) -> None:
    """Push during a slow build, in each round."""
    report.absent("woodpecker", "not in any package registry; its documentation says stop 20 s, then kill")
    on_an_engine(partial(_measure, report, rounds=3 if quick else 9))
    report.bar("second 202 -> the old build's container is gone", "<=", 0.5, "container gone", "s")


async def _measure(report: Report, here: World, *, rounds: int) -> None:
    host = engine.ensure()
    for number in range(rounds):
        command = f"sleep 60.{number}"
        slow = await here.push(dockerfile=DOCKERFILE + f"RUN {command}\n")
        await here.says(slow, f"RUN {command}")
        container = await asyncio.to_thread(_running, host, command)
        removed = asyncio.create_task(asyncio.to_thread(_when_removed, host, container))
        fast = await here.push()
        began = here.answered_at
        report.sample("container gone", await removed - began, "s")
        await _ends(here, slow.number, began, report)
        await here.ended(fast)


async def _ends(here: World, number: int, began: float, report: Report) -> None:
    await here.ended(await here.client.show(here.app, number))
    report.sample("recorded as superseded", time.monotonic() - began, "s")


def _running(host: Engine, command: str) -> str:
    """Wait until a container runs `command`; its id."""
    api = host.api()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for one in api.get("/containers/json"):
            if command in one["Command"]:
                return str(one["Id"])
        time.sleep(0.05)
    raise TimeoutError(f"no container runs {command!r}")


def _when_removed(host: Engine, container: str) -> float:
    """The moment at which the container was removed, by time.monotonic(). Waits for the engine to tell it: polling would slow
    down what is measured."""
    api = host.api(timeout=60)
    api.post(f"/containers/{container}/wait?condition=removed")
    moment = time.monotonic()
    if api.get(f"/containers/{container}/json") is not None:
        raise AssertionError(f"the container {container[:12]} is still there")
    return moment
