"""A daemon that is killed and started again; in the end the head is live, and the records, the engine and the clients agree."""

import asyncio
import json
import random
import re
import statistics
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import leftovers
from deployd.bringup.load import Load
from deployd.bringup.repository import deliver
from deployd.client import Client
from deployd.status import Status
from tests.e2e.world import DOCKERFILE, REST, WHO, World
from tests.faults.promises import check_clients, check_taken, check_work, check_world
from tests.faults.witness import database_of, records

_WITHIN_S = 120.0
_REACTION_S = 0.01  # from the beginning of a step to a kill for it

GOLDEN = '[app.golden]\nfile = "golden.json"\n'
"""The part of the app's config that asks for both gates."""

ANSWERS = json.dumps({"cases": [{"request": {}, "response": {"label": "setosa"}}]})
GOLDEN_DOCKERFILE = DOCKERFILE.replace("=$COMMIT", """='{"label": "setosa", "commit": "'$COMMIT'"}'""")

# A step that was cut off runs anew with half of its work done: only the first time tells how long it takes.
_LENGTHS = (
    "SELECT finished_at - started_at FROM (SELECT *, min(position) FROM steps WHERE name = '{step}' GROUP BY app, number) "
    "WHERE status = 'done'"
)


@asynccontextmanager
async def surviving(world: World, engine: Engine, chance: random.Random) -> AsyncIterator["Survivor"]:
    """A world with GOLDEN in its config, a live release and clients that load it; its daemon can be made to die at a point."""
    world.daemon.program = ("-m", "tests.faults.daemon")
    world.repository.write("golden.json", ANSWERS)
    first = await world.ended(await world.push(dockerfile=GOLDEN_DOCKERFILE))
    assert first.status is Status.LIVE, first.reason
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO, kept=1, fresh=1):
        yield Survivor(world, load, engine, chance)


class Survivor:
    """A world whose daemon is killed many times while clients send requests without a pause."""

    def __init__(self, world: World, load: Load, engine: Engine, chance: random.Random) -> None:
        self.world = world
        self.load = load
        self.kills = 0
        self.points: set[str] = set()  # where it died
        self.deaths: Counter[str] = Counter()  # what ran when it was killed, by its records
        self.aimed: Counter[str] = Counter()  # the steps that were to be hit at a random moment,
        self.hit: Counter[str] = Counter()  # and that ran at that moment
        self.taken: dict[str, str] = {}  # the commit that each delivery named which got a 202, by its GUID
        self._log_from = 0
        self._engine = engine
        self._chance = chance

    @property
    def daemon(self) -> DemoDaemon:
        """The daemon that is killed."""
        return self.world.daemon

    async def restart(self, fault: str | None = None, by: str = "SIGKILL", first: int = 0) -> None:
        """Start the daemon again; it dies at `fault` of a deploy from number `first` on, perhaps before it answers."""
        foreseen = {"DEPLOYD_FAULT": fault or "", "DEPLOYD_FAULT_SIGNAL": by, "DEPLOYD_FAULT_FROM": str(first)}
        self.daemon.environment = foreseen if fault else {}
        self._log_from = self.daemon.log.stat().st_size
        await self.daemon.start()

    def change(self) -> None:
        """Write a new version of the app that passes both gates."""
        self.world.change(dockerfile=GOLDEN_DOCKERFILE)

    async def push(self) -> str:
        """Commit and push a change, and send the webhook; return the commit. A dead daemon misses the webhook."""
        self.change()
        payload, guid = await asyncio.to_thread(self.world.repository.push, "Change"), str(uuid.uuid4())
        head = self.world.repository.head
        with suppress(httpx.TransportError):
            answer = await deliver(self.daemon.url, self.daemon.secret, payload, guid)
            assert answer.status_code == 202, answer.text
            assert answer.json() == {"delivery": guid, "apps": [self.world.app]}
            self.taken[guid] = head
        return head

    async def ends(self, within: float = _WITHIN_S) -> int:
        """Wait until the daemon ends by itself; return its exit code."""
        assert self.daemon.process is not None
        async with asyncio.timeout(within):
            return await self.daemon.process.wait()

    async def dies(self) -> None:
        """Wait until the daemon dies, and check that it was at the chosen point."""
        assert await self.ends() == -9, self.daemon.log.read_text()[-4000:]
        assert self.struck_at() is not None
        self.points.add(self.daemon.environment["DEPLOYD_FAULT"])
        self._count()

    def struck_at(self) -> float | None:
        """When (time.monotonic()) the present or last daemon reached the chosen point."""
        point = self.daemon.environment["DEPLOYD_FAULT"]
        with self.daemon.log.open() as log:
            log.seek(self._log_from)
            found = re.search(rf"^witness: {point} at (\S+)$", log.read(), re.MULTILINE)
        return float(found[1]) if found else None

    async def dies_during(self, step: str) -> None:
        """Push, and kill the daemon at a random moment of that deploy's step; the step's usual duration is the limit."""
        usual = statistics.median(length for (length,) in records(self.world, _LENGTHS.format(step=step)))
        async with asyncio.timeout(_WITHIN_S), Client(self.daemon.api) as client:
            events = client.events(self.world.app)
            await anext(events)  # from here on nothing is missed
            await self.push()
            async for event in events:
                if (event["kind"], event.get("name"), event.get("status")) == ("step", step, "running"):
                    break
            await asyncio.sleep(self._chance.uniform(0, max(0, usual - _REACTION_S)))
            running = await self.kill()
        self.aimed[step] += 1
        self.hit[step] += step in running

    async def kill(self) -> set[str]:
        """Send SIGKILL now; return the steps that it interrupted."""
        assert self.daemon.process is not None
        if self.daemon.process.returncode is None:
            self.daemon.process.kill()
        assert await self.ends() == -9, self.daemon.log.read_text()[-4000:]
        return self._count()

    def _count(self) -> set[str]:
        running = {step for (step,) in records(self.world, "SELECT name FROM steps WHERE status = 'running'")}
        self.kills += 1
        self.deaths.update(running or {"no step"})
        return running

    async def settles(self) -> None:
        """Wait until the head is live and everything else is gone; then check all promises."""
        head = self.world.repository.head
        await self.daemon.wait_until_ready()
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
        containers = [
            thing.name for thing in leftovers(self._engine.api(), self.daemon.instance) if thing.kind == "container"
        ]
        gateway = f"deployd-gateway-{self.daemon.instance}"
        return sorted(containers) == [self.daemon.container(live.number), gateway]

    def check(self) -> None:
        """Check that no request was refused and none got an older answer than before; that each accepted delivery is known
        and settled; that no commit went live twice and no two deploys ran at once; that the database is sound; and that the
        engine holds what serves and what is kept, and nothing else."""
        check_clients(self.load)
        check_world(self.world, self._engine.api())
        check_taken(database_of(self.world), self.world.app, self.taken)
        check_work(self.daemon.log.read_text())
