"""What the deploy benches stand on: an engine, a world of their own with a running daemon, and nothing left at the end."""

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
    """Run `measure` in a world; whatever that made on the engine is gone afterwards."""
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
    """Wait until the gateway stands, so that start-up is over; the daemon tells nobody when that is."""
    async with asyncio.timeout(60):
        while (await client.ready()).get("gateway") != "ok":  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)
