"""Waits for what a world shows while something is wrong, by its events and not by the clock."""

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx

from deployd.api.answers import DeployAnswer
from deployd.client import Client
from deployd.status import Status
from tests.e2e.world import World

_WITHIN_S = 90.0


async def until(world: World, deploy: DeployAnswer, status: Status, reason: str = "") -> DeployAnswer:
    """Wait until the deploy has that status, with a reason that contains `reason`; return it."""
    async with asyncio.timeout(_WITHIN_S), Client(world.daemon.api) as client:
        async for _ in client.events(world.app):
            now = await client.show(deploy.app, deploy.number)
            if now.status is status and reason in now.reason:
                return now
    raise AssertionError(f"{deploy.app}/{deploy.number} never was {status}")


async def begins(world: World, deploy: DeployAnswer, step: str) -> None:
    """Wait until the step of the deploy runs."""
    async with asyncio.timeout(_WITHIN_S), Client(world.daemon.api) as client:
        async for _ in client.events(world.app):
            now = await client.show(deploy.app, deploy.number)
            if any(one.name == step and one.status == "running" for one in now.steps):
                return
    raise AssertionError(f"{step} of {deploy.app}/{deploy.number} never ran")


async def finishes(world: World, deploy: DeployAnswer, step: str = "prune") -> None:
    """Wait until the last step of the deploy is done."""
    async with asyncio.timeout(_WITHIN_S), Client(world.daemon.api) as client:
        async for _ in client.events(world.app):
            now = await client.show(deploy.app, deploy.number)
            if any(one.name == step and one.status == "done" for one in now.steps):
                return
    raise AssertionError(f"{step} of {deploy.app}/{deploy.number} never ended")


async def readyz(world: World, part: str, words: str) -> None:
    """Wait until `/readyz` says so of a part."""
    async with asyncio.timeout(_WITHIN_S):
        while words not in (await world.client.ready()).get(part, ""):  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(0.2)


async def says(world: World, text: str) -> None:
    """Wait until the daemon writes that to its own log."""
    async with asyncio.timeout(_WITHIN_S):
        while text not in world.daemon.log.read_text():  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(0.1)


async def serving(world: World) -> str | None:
    """The commit that is recorded as live."""
    live = (await world.client.app(world.app)).live
    return live.commit if live is not None else None


async def answers(world: World) -> str:
    """Wait until the app answers; return its answer."""
    async with asyncio.timeout(_WITHIN_S), httpx.AsyncClient(trust_env=False, verify=False) as client:
        while True:
            with suppress(httpx.TransportError):
                if (answer := await client.get(world.daemon.public_url)).status_code == 200:
                    return answer.text
            await asyncio.sleep(0.1)  # another process, no event


def database_of(world: World) -> Path:
    """The daemon's database."""
    return world.daemon.directory / "state" / "deployd.db"


def records(world: World, query: str) -> list[tuple[Any, ...]]:
    """Rows of the daemon's database."""
    with closing(sqlite3.connect(f"file:{database_of(world)}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
