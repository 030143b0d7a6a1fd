"""What must hold after a death: the daemon comes back, the head goes live, and the records, the engine and the clients agree."""

import asyncio
import json
import random
import re
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
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
_KEPT_IMAGES = 5  # [retention] images


class Survivor:
    """A world whose daemon is killed again and again while clients ask its app without pause."""

    def __init__(self, world: World, load: Load, engine: Engine, chance: random.Random) -> None:
        self.world = world
        self.load = load
        self.kills = 0
        self.taken: dict[str, tuple[str, list[tuple[str, int]]]] = {}  # what each GUID that got a 202 was answered
        self._log_from = 0
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
        self._log_from = self.daemon.log.stat().st_size
        await self.daemon.start()

    async def push(self) -> str:
        """Commit and push a change, and tell whoever listens; the commit. A dead daemon misses the hook."""
        self.world.change()
        payload, guid = await asyncio.to_thread(self.world.repository.push, "Change"), str(uuid.uuid4())
        head = self.world.repository.head
        with suppress(httpx.TransportError):
            answer = await deliver(self.daemon.url, self.daemon.secret, payload, guid)
            assert answer.status_code == 202, answer.text
            self.taken[guid] = (head, [(deploy["app"], deploy["number"]) for deploy in answer.json()["deploys"]])
        return head

    async def ends(self, within: float = _WITHIN_S) -> int:
        """The daemon ends by itself in time; its exit code."""
        assert self.daemon.process is not None
        async with asyncio.timeout(within):
            return await self.daemon.process.wait()

    async def dies(self) -> None:
        """The daemon dies at the point that was foreseen, and nowhere else."""
        assert await self.ends() == -9, self.daemon.log.read_text()[-4000:]
        assert self.struck_at() is not None
        self.kills += 1

    def struck_at(self) -> float | None:
        """When, by time.monotonic(), the daemon that runs or ran last came to the point that was foreseen."""
        point = self.daemon.environment["DEPLOYD_FAULT"]
        with self.daemon.log.open() as log:
            log.seek(self._log_from)
            found = re.search(rf"^witness: {point} at (\S+)$", log.read(), re.MULTILINE)
        return float(found[1]) if found else None

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
        assert await self.ends() == -9, self.daemon.log.read_text()[-4000:]
        self.kills += 1

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
        return self._present("container") == [
            f"container deployd-gateway-{self.daemon.instance}",
            f"container deployd-{self.world.app}-{live.number}",
        ]

    def check(self) -> None:
        """Nobody was refused or went back; what was accepted is known and has its end; no two deploys were worked on at once;
        the database is sound; on the engine is what serves and what is kept."""
        assert self.load.failures == []
        assert not [client.turns for client in self.load.clients if client.went_back]
        check_records(self._database)
        check_taken(self._database, self.taken)
        check_work(self.daemon.log.read_text())
        assert self._present("network") == [f"network deployd-{self.daemon.instance}"]
        assert self._present("volume") == []
        images = self._present("image")
        assert f"image deployd/{self.world.app}:{self.world.repository.head}" in images
        assert len(images) <= _KEPT_IMAGES, images

    @property
    def _database(self) -> Path:
        return self.daemon.directory / "state" / "deployd.db"

    def _present(self, kind: str) -> list[str]:
        found = map(str, leftovers(self._engine.api(), self.daemon.instance))
        return sorted(name for name in found if name.startswith(kind))


def check_records(path: Path) -> None:
    """The database is sound, and every deploy but the live one came to an end that nobody has to act on.

    That no two are in flight at once need not be looked for here: the database itself refuses it.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        open_ones = connection.execute(
            "SELECT number, status, reason FROM deploys WHERE status NOT IN ('live', 'retired', 'superseded')"
        ).fetchall()
        assert open_ones == []
        assert connection.execute("SELECT count(*) FROM deploys WHERE status = 'live'").fetchone() == (1,)
        known = {number for (number,) in connection.execute("SELECT number FROM deploys")}
        for (deploys,) in connection.execute("SELECT deploys FROM deliveries"):
            assert {number for _, number in json.loads(deploys)} <= known


def check_taken(path: Path, taken: Mapping[str, tuple[str, list[tuple[str, int]]]]) -> None:
    """Every delivery that got a 202 is remembered with the deploys that it was answered, and those are of its commit."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        known = {
            guid: json.loads(deploys) for guid, deploys in connection.execute("SELECT guid, deploys FROM deliveries")
        }
        commits = {
            (app, number): sha for app, number, sha in connection.execute("SELECT app, number, sha FROM deploys")
        }
    for guid, (commit, deploys) in taken.items():
        assert deploys
        assert [tuple(deploy) for deploy in known.get(guid, ())] == deploys, f"{guid} got a 202 and is not known"
        assert {commits[deploy] for deploy in deploys} == {commit}


def check_work(log: str) -> None:
    """By the witness in the daemon: the work at a deploy, its clean-up too, was over before that at another began."""
    at_work: set[str] = set()
    for event, deploy in re.findall(r"^witness: (starts|begins|ends)(?: (\S+))?$", log, re.MULTILINE):
        if event == "starts":
            at_work.clear()  # the one before is dead
        elif event == "begins":
            assert not at_work, f"{deploy} began while {at_work} was worked on"
            at_work.add(deploy)
        else:
            at_work.remove(deploy)
