"""All together: a remote, an engine, a daemon between them, and the rules, which hear of everything."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine, Sequence
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from deployd.config.file import parse
from deployd.delivery import Delivery, Followed, Push
from deployd.status import Status
from tests.order.model.clock import Clock
from tests.order.model.daemon import Daemon
from tests.order.model.engine import Engine
from tests.order.model.remote import MAIN, Fault, Remote
from tests.order.model.rules import App, Order, Rules

T = TypeVar("T")

REPO = "https://example.com/acme/iris.git"
PATHS = {"iris": frozenset[str](), "rose": frozenset({"model"})}
CONFIG = parse(
    {
        "app": [
            {"name": name, "repo": REPO, "branch": "main", "gateway": {"listen": port}}
            | ({"paths": sorted(paths)} if paths else {})
            for port, (name, paths) in enumerate(PATHS.items(), start=8000)
        ],
        "git": {"poll_every": "600s"},
    }
)
SETTLED_S = 400.0  # longer than anything stays away or waits, but for the poll
POLLED_S = 800.0
_OFTEN_REFUSED = 10  # after that, and when no delivery owes a look, it is asked as seldom as the poll does
PATIENCE_S = 5.0  # a look waits at least so long for a commit that a delivery names


class World:
    """What a test does here takes no time, but for `goes_on`. Close it in the end."""

    def __init__(self, thread_s: float = 0.001, answer_s: float = 0.01, call_s: float = 0.003) -> None:
        """How long the disk, the remote and the engine take for one thing."""
        self.clock = Clock(thread_s)
        self.clock.set_exception_handler(self._failed)
        self.remote = Remote(answer_s)
        self.engine = Engine(self.remote, call_s)
        self.rules = Rules(self.remote, [App(name, paths) for name, paths in PATHS.items()])
        self.broken = False
        self.delivered: dict[str, str] = {}  # GUID -> commit
        self._guids = count(1)
        self._directory = Path(tempfile.mkdtemp(prefix="deployd-model-"))
        self._failures: list[BaseException] = []
        self._began_at = self._told_at = -inf  # the last start or reload, and the last delivery
        self._named_at: dict[str, float] = {}  # the last delivery of each commit
        self._start()

    def close(self) -> None:
        """End everything and leave nothing behind."""
        try:
            self.clock.run_until_complete(self.daemon.kill())
        finally:
            self.clock.close()
            shutil.rmtree(self._directory)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end, while the world goes on. What was against the rules meanwhile is raised."""
        self.broken = True
        result = self.clock.run_until_complete(work)
        for failure in self._failures:
            raise failure
        self.broken = False
        return result

    def goes_on(self, seconds: float) -> None:
        """So much time passes."""
        self.run(asyncio.sleep(seconds))
        self.run(self._check())

    def commit(
        self,
        *paths: str,
        message: str = "Fit",
        fault: Fault = "",
        late_by: float = 0.0,
    ) -> str:
        """Push a new commit that changes `paths`."""
        commits = self.remote.commits
        parent = self.remote.main or next(reversed(commits), None)
        commit = self.remote.write(parent, frozenset(paths or ("model",)), message, fault)
        self.push(commit.sha, late_by)
        return commit.sha

    def becomes(self, name: str, status: Status) -> Order:
        """The app's newest deploy, as soon as that is its status."""
        orders = self.rules.apps[name].orders
        while not orders or orders[-1].status is not status:
            self.goes_on(self.clock.thread_s)
        return orders[-1]

    def push(self, commit: str | None, late_by: float) -> None:
        """Move the branch, or delete it."""

        async def move() -> None:
            self.remote.push(commit, late_by)

        self.run(move())

    def deliver(self, commit: str, guid: str | None = None) -> None:
        """The forge tells of a push, for the first time or again."""
        self.daemon.asked(self._accepted(commit, guid or f"guid-{next(self._guids)}"))

    async def _accepted(self, commit: str, guid: str) -> None:
        failed = []
        if again := guid in self.delivered:
            for app in self.rules.apps.values():
                app.told_again.add(commit)
                if app.decided == app.wanted == commit and app.order and app.order.status is Status.FAILED:
                    failed.append((app, app.renewed + app.decisions))
        began = self.clock.time()
        push = Push("example.com/acme/iris", MAIN, commit, deleted=not commit.strip("0"))
        names = await self.daemon.scheduler.accept(
            Delivery("github", guid, "push"), [Followed(push, tuple(sorted(PATHS)))]
        )
        assert names == sorted(PATHS)
        self.delivered[guid] = commit
        for app, before in failed:
            assert app.renewed + app.decisions > before, f"{app.name} does not run {commit} again"
        if not again:
            self._told_at = self._named_at[commit] = began

    def deploy(self, name: str, commit: str | None) -> None:
        """A person wants a commit, or the head."""
        self._asks(name, self.daemon.scheduler.deploy(name, commit, "ada"))

    def roll_back(self, name: str, to: int | None) -> None:
        """A person wants an earlier release."""
        self._asks(name, self.daemon.scheduler.rollback(name, to, "ada"))

    def _asks(self, name: str, request: Coroutine[Any, Any, object]) -> None:
        app = self.rules.apps[name]
        app.asked += 1

        async def ask() -> None:
            app.requests += 1
            await request

        self.daemon.asked(ask())

    def cancel(self, name: str, number: int) -> None:
        """A person wants no more of a deploy."""
        app = self.rules.apps[name]

        async def ask() -> None:
            app.to_cancel.add(number)
            await self.daemon.scheduler.cancel(name, number)
            if name not in self.engine.switching:
                app.cancelled.add(number)

        self.daemon.asked(ask())

    def pause(self, name: str, *, paused: bool) -> None:
        """A person lets an app wait, or go on."""

        self.daemon.asked(self.daemon.scheduler.pause(name, paused=paused))

    def reload(self) -> None:
        """The config is read again, and says the same."""
        self.daemon.running.replace(CONFIG)
        self._began_at = self.clock.time()

    def restart(self, *, kill: bool) -> None:
        """The daemon ends, in order or not, and starts again."""
        self.run(self.daemon.kill() if kill else self.daemon.stop())
        self.rules.ended(recorded=not kill and self.clock.time() >= self.daemon.disk.full_until)
        self._start()

    def settle(self) -> None:
        """Nothing happens any more, and all is well outside: first without the poll, then with it."""
        self.goes_on(SETTLED_S)
        self.run(self._quiet(looked=self._was_due()))
        self.goes_on(POLLED_S)
        self.run(self._quiet(looked=True))

    def _was_due(self) -> bool:
        """Whether something but the poll made the daemon look after it could see where the branch is now."""
        head, since = self.remote.main, self.remote.shown_since()
        if self._told_at >= since or (self._began_at >= since and self.remote.refused <= _OFTEN_REFUSED):
            return True
        if head is None or any(head in self.remote.before(commit) for _, commit in self.remote.shows[:-1]):
            return False
        return self._named_at.get(head, -inf) >= since - PATIENCE_S

    async def _quiet(self, *, looked: bool) -> None:
        store = self.daemon.store
        for app in self.rules.apps.values():
            known = (await store.known([app.name]))[app.name]
            serving = self.engine.serving.get(app.name)
            self.rules.quiet(app, await store.state(app.name), known, serving, looked=looked)
            left = {number for name, number in self.engine.left if name == app.name}
            assert self.engine.containers[app.name] - {serving} <= left, f"{app.name} left something behind"
        for guid in self.delivered:
            received = await store.delivery(guid)
            assert received is not None
            self.rules.answered(received)

    def _start(self) -> None:
        self.daemon = Daemon(self._directory, CONFIG, self.engine, self._heard)
        self.run(self.daemon.start())
        self._began_at = self.clock.time()

    def _heard(self, rows: Sequence[sqlite3.Row]) -> None:
        try:
            for row in rows:
                self._judge(self.rules.apps[row["app"]], row)
            self.rules.committed()
        except AssertionError as exc:
            self._failures.append(exc)

    def _judge(self, app: App, row: sqlite3.Row) -> None:
        match row["what"]:
            case "decided" if row["after"] is None:
                self.rules.undecided(app, row["wanted"])
            case "decided":
                self.rules.decided(app, row["after"], row["number"], row["more"])
            case "paused":
                self.rules.paused(app, paused=bool(row["after"]))
            case "queued":
                self.rules.queued(app, row["number"], row["after"], row["more"])
            case "became":
                self.rules.became(app, row["number"], Status(row["after"]), row["more"])
            case other:
                raise AssertionError(f"the rules know nothing of {other}")

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failures.append(context.get("exception") or AssertionError(context["message"]))

    async def _check(self) -> None:
        if (crash := self.daemon.crashed()) is not None:
            raise crash
