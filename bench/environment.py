"""The environment of the deploy benches: an engine and a running daemon, whose containers and images are removed at the end."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from deployd.bringup import engine, images
from deployd.bringup.daemon import DemoDaemon
from deployd.client import Client
from tests.e2e.world import CONFIG, World, world

Measure = Callable[[World], Awaitable[None]]


def on_an_engine(measure: Measure, config: str = CONFIG) -> None:
    """Run `measure` with a running daemon, then remove everything that the daemon created on the engine."""
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        daemons: list[DemoDaemon] = []

        async def run() -> None:
            async with world(Path(name), config) as here:
                daemons.append(here.daemon)
                await measure(here)

        try:
            asyncio.run(run())
        finally:
            for daemon in daemons:
                daemon.remove_everything(host.api(timeout=300))


async def settled(client: Client) -> None:
    """Wait until the gateway is ready and the start is over; no event tells when that is."""
    async with asyncio.timeout(60):
        while (await client.ready()).get("gateway") != "ok":  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)
