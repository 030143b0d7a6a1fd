"""The first page with 50 apps and 100,000 deploys, and webhooks while 200 browsers follow one busy log.

The page is asked for as a browser does, and drawn anew each time. A follower is what a deploy's page holds: one stream of events
with the log in it, and at each step the parts of the page that have changed. It counts when it has got all of the log, to the
last byte. Meanwhile signed pushes come at a steady rate; a forge gives up after ten seconds.
"""

import asyncio
import hashlib
import hmac
import json
import re
import sqlite3
import statistics
import tempfile
import time
import uuid
from contextlib import closing, suppress
from pathlib import Path

import httpx

from bench.environment import settled
from bench.host import processor_seconds
from bench.report import Report
from deployd.api.answers import DeployAnswer
from deployd.bringup import engine, images
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.ports import free_port
from deployd.bringup.repository import Repository
from deployd.client import Client
from deployd.status import Status
from deployd.store.schema import migrate
from tests.e2e.world import CONFIG, DOCKERFILE, World

_APPS, _DEPLOYS = 50, 100_000
_FOLLOWERS = 200
_PUSHES_A_SECOND = 20
_DEADLINE_S = 10.0
_PIECES = 600
# A build that prints 50 lines at a time for about fifteen seconds, and fails, so that its output is the end of its log.
_NOISY = f"""\
{DOCKERFILE}
RUN for piece in $(seq {_PIECES}); do yes "a line of a build" | head -50; sleep 0.02; done; exit 3
"""
_OTHER = """
[[app]]
name = "other-{number}"
repo = "file://{remote}"
webhook = "github.com/acme/other"
branch = "other"
[app.docker]
port = 5000
[app.gateway]
listen = {port}
"""
_PUSHED = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": "1" * 40,
    "created": False,
    "deleted": False,
    "forced": False,
    "repository": {"id": 1, "full_name": "acme/iris", "html_url": "https://github.com/acme/iris"},
    "commits": [],
    "head_commit": None,
}
_CHANGED = re.compile(rb"event: (step|deploy.status|gate)\n")
_TO = re.compile(rb'"to": (\d+)')


def run(quick: bool, report: Report) -> None:
    """Measure one daemon."""
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        repository = Repository(Path(name))
        daemon = _prepare(Path(name), repository)
        try:
            asyncio.run(_measure(daemon, repository, report, 50 if quick else 500))
        finally:
            daemon.remove_everything(host.api())
    report.bar("the first page", "<=", 50, "first page p50", "ms")
    report.bar("webhooks that were not answered within 10 s", "<=", 0, "webhooks that were not answered within 10 s")
    report.bar("followers that got all of the log", ">=", _FOLLOWERS, "followers that got all of the log")


def _prepare(directory: Path, repository: Repository) -> DemoDaemon:
    """A daemon, and its state directory with a history."""
    repository.create()
    daemon = DemoDaemon.prepare(directory, repository.remote, CONFIG)
    others = [_OTHER.format(number=at, remote=repository.remote, port=free_port()) for at in range(1, _APPS)]
    with (directory / "config.toml").open("a") as config:
        config.writelines(others)
    (directory / "state").mkdir()
    names = [daemon.app, *(f"other-{at}" for at in range(1, _APPS))]
    each = _DEPLOYS // _APPS
    began = time.time() - each * 60
    with closing(sqlite3.connect(directory / "state" / "deployd.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO apps (name, last_number) VALUES (?, ?)", [(name, each) for name in names])
        connection.executemany(
            "INSERT INTO deploys (app, number, sha, ref, subject, author, trigger_kind, status, created_at, started_at, "
            "live_at, finished_at) VALUES (?, ?, ?, 'refs/heads/main', 'Change', 'Ada', 'push', ?, ?, ?, ?, ?)",
            (
                (name, number, f"{number:040x}", "failed" if number % 3 else "retired", *[began + number * 60] * 4)
                for name in names
                for number in range(1, each + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO steps (app, number, position, name, status, started_at, finished_at) "
            "VALUES (?, ?, ?, ?, 'done', ?, ?)",
            (
                (name, number, position, step, began + number * 60, began + number * 60 + 1)
                for name in names
                for number in range(1, each + 1)
                for position, step in enumerate(("fetch", "build", "ready"), start=1)
            ),
        )
        connection.execute("COMMIT")
    return daemon


async def _measure(daemon: DemoDaemon, repository: Repository, report: Report, questions: int) -> None:
    async with daemon.running(), Client(daemon.api) as client:
        here = World(repository, daemon, client)
        deploy = await here.ended(await here.push())
        assert deploy.status is Status.LIVE, deploy.reason
        await settled(client)
        transport = httpx.AsyncHTTPTransport(uds=daemon.api.removeprefix("unix://"))
        async with httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=60) as http:
            for what, path in (("first page", "/"), ("page of an app", f"/apps/{daemon.app}")):
                spent = _processor(daemon)
                await _ask(http, what, path, questions, report)
                report.sample(f"{what}, processor", 1000 * (_processor(daemon) - spent) / questions, "ms")
        await _follow(here, report)


def _processor(daemon: DemoDaemon) -> float:
    assert daemon.process is not None
    return processor_seconds(daemon.process.pid)


async def _ask(http: httpx.AsyncClient, what: str, path: str, questions: int, report: Report) -> None:
    took, size = [], 0
    for _ in range(questions):
        began = time.perf_counter()
        answer = await http.get(path, headers={"Accept": "text/html"})
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
        assert "<html" in answer.text
        size = len(answer.content)
    report.sample(f"{what} p50", statistics.median(took), "ms")
    report.sample(f"{what} p99", statistics.quantiles(took, n=100)[98], "ms")
    report.sample(f"{what}, size", size / 1000, "kB")


async def _follow(here: World, report: Report) -> None:
    """Let browsers wait for the log of a queued deploy, and follow it to its end, while pushes come."""
    daemon, client = here.daemon, here.client
    await _push(daemon, 2, "webhook, nobody follows", report)
    await client.pause(daemon.app)
    deploy = await here.push(dockerfile=_NOISY)
    follower = _Followers(daemon, deploy)
    following = [asyncio.create_task(follower.follow()) for _ in range(_FOLLOWERS)]
    await follower.complete.wait()
    spent, began = _processor(daemon), time.monotonic()
    await client.resume(daemon.app)
    pushing = asyncio.create_task(_push(daemon, None, "webhook, 200 follow", report))
    ended = await here.ended(deploy)
    seconds = time.monotonic() - began
    report.sample("processor while 200 follow", 100 * (_processor(daemon) - spent) / seconds, "%")
    size = len(b"".join([block async for block in client.log(daemon.app, deploy.number, colours=True)]))
    follower.size = size
    whole = await _until_all_have(following, follower)
    pushing.cancel()
    with suppress(asyncio.CancelledError):
        await pushing
    assert ended.status is Status.FAILED
    report.sample("followers that got all of the log", whole, "")
    report.sample("parts of pages that were drawn anew", follower.redrawn, "")
    report.sample("the log", size / 1e6, "MB")


async def _until_all_have(following: list[asyncio.Task[None]], follower: "_Followers") -> int:
    """Wait a while until all have got all; how many have."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while follower.done < _FOLLOWERS:  # noqa: ASYNC110 - each of them counts by itself
                await asyncio.sleep(0.1)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    return follower.done


class _Followers:
    """Browsers with the page of one deploy. They read sockets and little more, since the daemon has the same processors."""

    def __init__(self, daemon: DemoDaemon, deploy: DeployAnswer) -> None:
        self._socket = daemon.api.removeprefix("unix://")
        self._path = f"/api/v1/events?app={deploy.app}&log={deploy.name}"
        self._page = f"/apps/{deploy.app}/deploys/{deploy.number}"
        self.redrawn = 0
        self._open = 0
        self._at: list[int] = []
        self.size = -1
        self.complete = asyncio.Event()

    @property
    def done(self) -> int:
        """How many have got all of the log."""
        return sum(at >= self.size >= 0 for at in self._at)

    async def follow(self) -> None:
        """Read until cancelled."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        place = len(self._at)
        self._at.append(0)
        try:
            writer.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            rest = await reader.readuntil(b"retry: ")
            self._open += 1
            if self._open == _FOLLOWERS:
                self.complete.set()
            while block := await reader.read(256 * 1024):
                if found := _TO.findall(rest := rest[-64:] + block):
                    self._at[place] = int(found[-1])
                if _CHANGED.search(block):
                    await self._redraw()
        finally:
            writer.close()

    async def _redraw(self) -> None:
        """Ask for the live parts of the page, as htmx does."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            head = "Host: localhost\r\nAccept: text/html\r\nHX-Request: true\r\nConnection: close\r\n\r\n"
            writer.write(f"GET {self._page} HTTP/1.1\r\n{head}".encode())
            answer = await reader.read()
            self.redrawn += answer.startswith(b"HTTP/1.1 200")
        finally:
            writer.close()


async def _push(daemon: DemoDaemon, seconds: float | None, what: str, report: Report) -> None:
    """Send signed pushes at a steady rate for some seconds, or until cancelled."""
    took: list[float] = []
    missed = 0
    body = json.dumps(_PUSHED).encode()
    signature = hmac.new(daemon.secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    end = time.monotonic() + (seconds or 3600)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_DEADLINE_S) as http:
            while (began := time.monotonic()) < end:
                guid = {"X-GitHub-Delivery": str(uuid.uuid4())}
                try:
                    answer = await http.post(f"{daemon.url}/webhooks/github", content=body, headers=headers | guid)
                    assert answer.status_code == 202, answer.text
                except httpx.TimeoutException:
                    missed += 1
                took.append(time.monotonic() - began)
                await asyncio.sleep(max(0.0, 1 / _PUSHES_A_SECOND - took[-1]))
    finally:
        report.sample(f"{what}, p50", 1000 * statistics.median(took), "ms")
        report.sample(f"{what}, p99", 1000 * statistics.quantiles(took, n=100)[98], "ms")
        report.sample(f"{what}, longest", 1000 * max(took), "ms")
        if seconds is None:
            report.sample("webhooks that were not answered within 10 s", missed, "")
