"""One life of the daemon: the real store, scheduler, pipeline and aftermath, between a remote and an engine.

It ends in order, or it is killed: then nothing that its code still does on its way out reaches the disk or the engine.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from deployd.aftermath import Aftermath
from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.errors import RequestRefused, Unavailable
from deployd.events import Events
from deployd.logs.logs import Logs
from deployd.passage import Parts
from deployd.pipeline import Pipeline
from deployd.scheduler import Scheduler
from deployd.store.database import Call, Database, Then
from deployd.store.schema import migrate
from deployd.store.store import Store
from deployd.watch.stage import Watch
from tests.fakes import FakeModels
from tests.order.model.clock import Clock
from tests.order.model.engine import Builder, Engine, ModelGate, Target

# What the database itself says of each commit: which heads were decided upon, which deploys were queued, what became of them.
_TRACE = """
CREATE TEMP TABLE trace (id INTEGER PRIMARY KEY, what, app, number, before, after, wanted, more);
CREATE TEMP TRIGGER decided AFTER UPDATE OF decided ON main.apps WHEN old.decided IS NOT NULL OR new.decided IS NOT NULL BEGIN
    INSERT INTO trace (what, app, number, before, after, wanted, more)
    VALUES ('decided', new.name, new.wanted_number, old.decided, new.decided, new.wanted, new.skip_reason);
END;
CREATE TEMP TRIGGER queued AFTER INSERT ON main.deploys BEGIN
    INSERT INTO trace (what, app, number, after, more) VALUES ('queued', new.app, new.number, new.sha, new.trigger_kind);
END;
CREATE TEMP TRIGGER paused AFTER UPDATE OF paused ON main.apps BEGIN
    INSERT INTO trace (what, app, after) VALUES ('paused', new.name, new.paused);
END;
CREATE TEMP TRIGGER paused_first AFTER INSERT ON main.apps WHEN new.paused BEGIN
    INSERT INTO trace (what, app, after) VALUES ('paused', new.name, new.paused);
END;
CREATE TEMP TRIGGER became AFTER UPDATE OF status ON main.deploys BEGIN
    INSERT INTO trace (what, app, number, before, after, more)
    VALUES ('became', new.app, new.number, old.status, new.status, new.superseded_by);
END;
"""


_MOST_TO_END_S = 60.0


@cache
def _empty() -> bytes:
    """A database of the present version, which takes a while to make."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return connection.serialize()


class Disk(Database):
    """Tells `hears` what each transaction wrote. Its thread's work is done on the loop, in two halves: a kill comes between."""

    def __init__(self, path: Path, hears: Callable[[Sequence[sqlite3.Row]], None]) -> None:
        super().__init__(path)
        self.dead = False
        self.full_until = -inf
        self._hears = hears

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.write_bytes(_empty())
        connection = super()._open()
        connection.execute("PRAGMA synchronous = OFF")  # nothing here takes the power away
        connection.executescript(_TRACE)
        return connection

    def _begin(self) -> None:
        self._must_write()
        super()._begin()

    def _commit(self) -> None:
        self._must_write()
        told = self._writer.execute("SELECT * FROM temp.trace ORDER BY id").fetchall()
        self._writer.execute("DELETE FROM temp.trace")
        super()._commit()
        self._hears(told)

    def _aside(self, call: Call, then: Then) -> None:
        clock = self._loop
        assert isinstance(clock, Clock)

        def later() -> None:
            refused: sqlite3.Error | None = None
            try:
                call()
            except sqlite3.Error as exc:
                refused = exc
            clock.call_later(clock.thread_s, then, refused)

        clock.call_later(clock.thread_s, later)

    def _must_write(self) -> None:
        if self.dead or self._loop.time() < self.full_until:
            raise sqlite3.OperationalError("killed" if self.dead else "database or disk is full")


class Daemon:
    """Runs from `start` to `stop` or `kill`."""

    def __init__(
        self,
        directory: Path,
        config: Config,
        engine: Engine,
        hears: Callable[[Sequence[sqlite3.Row]], None],
    ) -> None:
        self.disk = Disk(directory / "deployd.db", hears)
        self.store = Store(self.disk, Events())
        self._builder, self._target = Builder(engine), Target(engine)
        logs, targets = Logs(directory / "logs"), {"docker": self._target}
        parts = Parts(
            self.store, logs, engine.remote, self._builder, targets, lambda _: (ModelGate(engine),), FakeModels()
        )
        pipeline = Pipeline(parts, instance="test", builder=config.builder, registry=None)
        watch = Watch(targets, engine.remote, parts.gates)
        aftermath = Aftermath(self.store, logs, targets, self._builder, 0, watch)
        self.running = Running(config)
        self.scheduler = Scheduler(self.running, self.store, engine.remote, pipeline, aftermath, targets)
        self._requests: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the database and serve."""
        self._loop = asyncio.get_running_loop()
        await self.disk.__aenter__()
        self._work = asyncio.create_task(self.scheduler.serve())

    def asked(self, request: Coroutine[Any, Any, None]) -> None:
        """Somebody asks for something; it may be refused."""

        async def attempt() -> None:
            try:
                await request
            except (RequestRefused, Unavailable):
                return

        task = self._loop.create_task(attempt())
        self._requests.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            task.result()  # a bug ends the test

    def crashed(self) -> BaseException | None:
        """What ended it, if it has ended by itself."""
        return self._work.exception() if self._work.done() else None

    async def stop(self) -> None:
        """As SIGTERM does it."""
        await self._end()
        if self._ended is not None:
            raise self._ended

    async def kill(self) -> None:
        """As SIGKILL does it."""
        self.disk.dead = self._builder.dead = self._target.dead = True
        await self._end()

    async def _end(self) -> None:
        self.store.stop_waiting()
        tasks = [self._work, *self._requests]
        for task in tasks:
            task.cancel()
        _, hanging = await asyncio.wait(tasks, timeout=_MOST_TO_END_S)
        assert not hanging, f"the daemon does not end: {hanging}"
        await self.disk.__aexit__()
        self._ended = None if self._work.cancelled() else self._work.exception()
