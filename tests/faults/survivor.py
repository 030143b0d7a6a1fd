"""What must hold after a death: the daemon comes back, the head goes live, and the records, the engine and the clients agree."""

import asyncio
import json
import random
import sqlite3
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import httpx

from deployd.client import Client
from deployd.demo.daemon import DemoDaemon
from deployd.demo.engine import Engine
from deployd.demo.leftovers import leftovers
from deployd.demo.load import Load
from deployd.demo.repository import deliver
from tests.e2e.world import World

_WITHIN_S = 120.0


class Survivor:
    """A world whose daemon is killed again and again while clients ask its app without pause."""

    def __init__(self, world: World, load: Load, engine: Engine, chance: random.Random) -> None:
        self.world = world
        self.load = load
        self.kills = 0
        self._engine = engine
        self._chance = chance

    @property
    def daemon(self) -> DemoDaemon:
        """The daemon under fire."""
        return self.world.daemon

    async def restart(self, fault: str | None = None, by: str = "SIGKILL", first: int = 0) -> None:
        """Start the daemon again, to die at `fault` of a deploy from number `first` on; it may be dead before it answers."""
        foreseen = {"DEPLOYD_FAULT": fault or "", "DEPLOYD_FAULT_SIGNAL": by, "DEPLOYD_FAULT_FROM": str(first)}
        self.daemon.environment = foreseen if fault else {}
        await self.daemon.start()

    async def push(self) -> str:
        """Commit and push a change, and tell whoever listens; the commit. A dead daemon misses the hook."""
        self.world.change()
        payload = await asyncio.to_thread(self.world.repository.push, "Change")
        with suppress(httpx.TransportError):
            await deliver(self.daemon.url, self.daemon.secret, payload)
        return self.world.repository.head

    async def dies(self, within: float = _WITHIN_S) -> bool:
        """Whether the daemon dies in time."""
        assert self.daemon.process is not None
        try:
            async with asyncio.timeout(within):
                await self.daemon.process.wait()
        except TimeoutError:
            return False
        assert self.daemon.process.returncode == -9, self.daemon.log.read_text()[-4000:]
        self.kills += 1
        return True

    async def dies_during(self, step: str) -> None:
        """Kill it at a random moment after `step` of the newest deploy began. What began before we listened counts too."""
        async with asyncio.timeout(_WITHIN_S), Client(self.daemon.url) as client:
            async for _ in client.events(self.world.app):
                newest = (await client.history(self.world.app, limit=1)).deploys[0]
                steps = (await client.show(self.world.app, newest.number)).steps
                if any(one.name == step for one in steps):
                    break
        await asyncio.sleep(self._chance.uniform(0, 0.4))
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL, now."""
        assert self.daemon.process is not None
        if self.daemon.process.returncode is None:
            self.daemon.process.kill()
        assert await self.dies()

    async def settles(self) -> None:
        """The head goes live and everything else goes away; then all promises are checked."""
        head = self.world.repository.head
        await self.daemon.answering()
        async with asyncio.timeout(_WITHIN_S):
            async for _ in self.world.client.events(self.world.app):
                if await self._settled(head):
                    break
        self.check()

    async def _settled(self, head: str) -> bool:
        app = await self.world.client.app(self.world.app)
        if app.live is None or app.live.commit != head or app.in_flight is not None:
            return False
        live = await self.world.client.show(self.world.app, app.live.number)
        if not any(step.name == "prune" and step.status == "done" for step in live.steps):
            return False
        return self._containers() == [
            f"container deployd-gateway-{self.daemon.instance}",
            f"container deployd-{self.world.app}-{live.number}",
        ]

    def check(self) -> None:
        """Nobody was refused or went back; every deploy has its end; none ran twice at once; the database is sound."""
        assert self.load.failures == []
        assert not [client.turns for client in self.load.clients if client.went_back]
        check_records(self.daemon.directory / "state" / "deployd.db")

    def _containers(self) -> list[str]:
        found = map(str, leftovers(self._engine.api(), self.daemon.instance))
        return sorted(name for name in found if name.startswith("container"))


def check_records(path: Path) -> None:
    """The database is sound, every deploy but the live one has ended, and no two of them were worked on at once."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        open_ones = connection.execute(
            "SELECT number, status FROM deploys WHERE status NOT IN ('live', 'retired', 'superseded', 'failed', 'cancelled')"
        ).fetchall()
        assert open_ones == []
        assert connection.execute("SELECT count(*) FROM deploys WHERE status = 'live'").fetchone() == (1,)
        assert connection.execute("SELECT number, reason FROM deploys WHERE status = 'failed'").fetchall() == []
        known = {number for (number,) in connection.execute("SELECT number FROM deploys")}
        for (deploys,) in connection.execute("SELECT deploys FROM deliveries"):
            assert {number for _, number in json.loads(deploys)} <= known
        work = connection.execute(
            "SELECT number, started_at, finished_at FROM steps WHERE name NOT IN ('drain', 'prune') ORDER BY started_at"
        ).fetchall()
    for (one, _, ended), (other, began, _) in pairwise(work):
        assert one == other or (ended is not None and ended <= began), f"deploys {one} and {other} ran at once"
