"""A long history beside a short one: lists and states, the start, 500 followers of a growing log, the memory of an idle daemon.

"Dashboard data" is what a page of an app needs: the events, opened first so that none is missed (`GET /api/v1/events`), the
state of all apps (`/api/v1/apps`) and of the one (`/api/v1/apps/{app}`), and its newest deploys (`/api/v1/apps/{app}/deploys`).
No page is rendered. Each daemon has built and serves a small release.
"""

import asyncio
import hashlib
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.environment import settled
from bench.report import Report, interleaved
from deployd.bringup import engine, images
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.repository import Repository
from deployd.client import Client
from deployd.status import Status
from deployd.store.schema import migrate
from tests.e2e.world import CONFIG, DOCKERFILE, World

_SIZES = {"short": (100, 1_000), "long": (100_000, 1_000_000)}
_FOLLOWERS = 500
_PIECES = 400
# A build that prints 50 lines at a time for about ten seconds, and fails, so that its output is the end of its log.
_NOISY = f"""\
{DOCKERFILE}
RUN for piece in $(seq {_PIECES}); do yes "a line of a build" | head -50; sleep 0.02; done; exit 3
"""


def run(quick: bool, report: Report) -> None:
    """Measure two daemons in turn, one with each history."""
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        repositories = {size: Repository(Path(name) / size) for size in _SIZES}
        daemons = {size: _prepare(Path(name) / size, repositories[size], *_SIZES[size]) for size in _SIZES}
        try:
            asyncio.run(_measure(daemons, repositories, report, 3 if quick else 9, 100 if quick else 400))
        finally:
            for daemon in daemons.values():
                daemon.remove_everything(host.api())
    for what in ("list", "status", "one deploy", "dashboard data"):
        report.ratio(f"p99 of {what}: long / short", f"{what} p99, long", f"{what} p99, short")
        report.bar(f"p99 of {what}: long / short", "<=", 1.5, f"p99 of {what}: long / short")
    report.bar("start with the long history", "<=", 2.0, "start, long", "s")
    report.bar("resident memory, idle, a Docker app", "<=", 80.0, "resident, short", "MB")


def _prepare(directory: Path, repository: Repository, deploys: int, deliveries: int) -> DemoDaemon:
    """A daemon, and its state directory with a history of this length."""
    repository.create()
    daemon = DemoDaemon.prepare(directory, repository.remote, CONFIG, app=f"iris-{directory.name}")
    (directory / "state").mkdir()
    began = time.time() - deploys
    with closing(sqlite3.connect(directory / "state" / "deployd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection)
        connection.execute("BEGIN")
        connection.execute("INSERT INTO apps (name, last_number) VALUES (?, ?)", (daemon.app, deploys))
        connection.executemany(
            "INSERT INTO deploys (app, number, sha, ref, subject, author, trigger_kind, status, created_at, started_at, "
            "live_at, finished_at) VALUES (?, ?, ?, 'refs/heads/main', 'Change', 'Ada', 'push', ?, ?, ?, ?, ?)",
            (
                (daemon.app, number, f"{number:040x}", "superseded" if number % 3 else "retired", *[began + number] * 4)
                for number in range(1, deploys + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO steps (app, number, position, name, status, started_at, finished_at) "
            "VALUES (?, ?, ?, ?, 'done', ?, ?)",
            (
                (daemon.app, number, position, step, began + number, began + number + 1)
                for number in range(1, deploys + 1)
                for position, step in enumerate(("fetch", "build", "ready"), start=1)
            ),
        )
        connection.executemany(
            "INSERT INTO deliveries (forge, guid, event, received_at, repository, ref, sha, apps) "
            "VALUES ('github', ?, 'push', ?, 'github.com/acme/iris', 'refs/heads/main', ?, ?)",
            ((str(uuid.uuid4()), began, f"{at % deploys + 1:040x}", f'["{daemon.app}"]') for at in range(deliveries)),
        )
        connection.executemany(
            "INSERT INTO looks (app, upto, at, sha, number, reason) VALUES (?, ?, ?, ?, ?, '')",
            ((daemon.app, at + 1, began, f"{at % deploys + 1:040x}", at % deploys + 1) for at in range(deliveries)),
        )
        connection.execute("UPDATE apps SET owed = ?, looked = ?", (deliveries, deliveries))
        connection.execute("COMMIT")
    return daemon


async def _measure(
    daemons: dict[str, DemoDaemon], repositories: dict[str, Repository], report: Report, rounds: int, questions: int
) -> None:
    try:
        for size, daemon in daemons.items():
            await _bring_live(daemon, repositories[size])
        for _, size in interleaved(rounds, daemons):
            await daemons[size].stop()
            began = time.monotonic()
            await daemons[size].start()
            await daemons[size].wait_until_ready()
            report.sample(f"start, {size}", time.monotonic() - began, "s")
        async with Client(daemons["short"].api) as short, Client(daemons["long"].api) as long:
            clients = {"short": short, "long": long}
            for size, client in clients.items():
                await settled(client)
                report.sample(f"resident, {size}", _resident(daemons[size]), "MB")
            for _, size in interleaved(rounds, clients):
                await _ask(clients[size], daemons[size].app, size, _SIZES[size][0], questions, report)
        await _follow(daemons["long"], repositories["long"], report)
    finally:
        for daemon in daemons.values():
            await daemon.stop()


async def _bring_live(daemon: DemoDaemon, repository: Repository) -> None:
    """Deploy a release, so that the idle daemon has one to watch and a start finds one that serves."""
    async with daemon.running(), Client(daemon.api) as client:
        here = World(repository, daemon, client)
        deploy = await here.ended(await here.push())
        assert deploy.status is Status.LIVE, deploy.reason


async def _ask(client: Client, app: str, size: str, deploys: int, questions: int, report: Report) -> None:
    asked: dict[str, Callable[[int], Awaitable[object]]] = {
        "list": lambda _: client.history(app, limit=50),
        "status": lambda _: client.apps(),
        "one deploy": lambda at: client.show(app, 1 + at * 7919 % deploys),
        "dashboard data": lambda _: _page(client, app),
    }
    for what, ask in asked.items():
        took = []
        for at in range(questions):
            began = time.perf_counter()
            await ask(at)
            took.append((time.perf_counter() - began) * 1000)
        report.sample(f"{what} p50, {size}", statistics.median(took), "ms")
        report.sample(f"{what} p99, {size}", statistics.quantiles(took, n=100)[98], "ms")


async def _page(client: Client, app: str) -> None:
    events = client.events(app)
    try:
        await anext(events)
        await asyncio.gather(client.apps(), client.app(app), client.history(app, limit=20))
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def _follow(daemon: DemoDaemon, repository: Repository, report: Report) -> None:
    """Let many followers wait for the log of a queued deploy, read it while it is written, and to its end."""
    limits, before = httpx.Limits(max_connections=_FOLLOWERS + 1), _resident(daemon)
    transport = httpx.AsyncHTTPTransport(uds=daemon.api.removeprefix("unix://"), limits=limits)
    async with (
        Client(daemon.api) as client,
        httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=120) as http,
    ):
        here = World(repository, daemon, client)
        await client.pause(daemon.app)
        deploy = await here.push(dockerfile=_NOISY)
        path = f"/api/v1/apps/{daemon.app}/deploys/{deploy.number}/log"
        followers = _Followers(http, path)
        following = asyncio.gather(*(followers.follow() for _ in range(_FOLLOWERS)))
        await client.resume(daemon.app)
        await followers.complete.wait()
        at = len((await http.get(path)).content)
        read = await following
        read_at, ended = datetime.now(UTC), await here.ended(deploy)
        log = (await http.get(path)).content
    assert ended.finished_at is not None
    behind = (read_at - ended.finished_at).total_seconds()
    whole = read.count(hashlib.sha256(log).hexdigest())
    report.sample("followers that got all of one log", whole, "")
    report.sample("how much of the log came while all of them followed", 100 * (len(log) - at) / len(log), "%")
    report.sample("from the log's end until all had it", behind, "s")
    report.sample("memory that 500 followers took", _resident(daemon) - before, "MB")
    report.bar("followers that got all of one log", ">=", _FOLLOWERS, "followers that got all of one log")


class _Followers:
    """Followers of one log; `complete` is set when all of them have got its first bytes."""

    def __init__(self, http: httpx.AsyncClient, path: str) -> None:
        self._http = http
        self._path = path
        self._begun = 0
        self.complete = asyncio.Event()

    async def follow(self) -> str:
        """Read the log to its end; return the digest of what was read."""
        read = hashlib.sha256()
        async with self._http.stream("GET", self._path, params={"follow": 1}) as answer:
            self._begun += 1
            if self._begun == _FOLLOWERS:
                self.complete.set()
            async for block in answer.aiter_raw():
                read.update(block)
        return read.hexdigest()


def _resident(daemon: DemoDaemon) -> float:
    """The resident memory in megabytes (of a million bytes)."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6
