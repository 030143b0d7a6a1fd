"""A long history beside a short one: lists and states, the start, 500 followers of one log, and what an idle daemon weighs.

"Dashboard data" is all that a page of an app is made of: the events, open before anything is asked so that nothing is missed
(`GET /api/v1/events`), the state of all apps (`/api/v1/apps`), that of the one (`/api/v1/apps/{app}`) and its newest deploys
(`/api/v1/apps/{app}/deploys`). No page is drawn.
"""

import asyncio
import sqlite3
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx

from bench.ground import settled
from bench.report import Report, interleaved
from deployd.client import Client
from deployd.demo import engine, images
from deployd.demo.daemon import DemoDaemon
from deployd.store.schema import migrate

_SIZES = {"short": (100, 1_000), "long": (100_000, 1_000_000)}
_FOLLOWERS = 500


def run(quick: bool, report: Report) -> None:
    """Two daemons, one with each history, asked in turn."""
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        daemons = {size: _prepare(Path(name) / size, *counts) for size, counts in _SIZES.items()}
        try:
            asyncio.run(_measure(daemons, report, 3 if quick else 9, 100 if quick else 400))
        finally:
            for daemon in daemons.values():
                daemon.remove_everything(host.api())
    for what in ("list", "status", "one deploy", "dashboard data"):
        report.ratio(f"p99 of {what}: long / short", f"{what} p99, long", f"{what} p99, short")
        report.bar(f"p99 of {what}: long / short", "<=", 1.5, f"p99 of {what}: long / short")
    report.bar("start with the long history", "<=", 2.0, "start, long", "s")
    report.bar("resident memory, idle, a Docker app", "<=", 80.0, "resident, short", "MB")


def _prepare(directory: Path, deploys: int, deliveries: int) -> DemoDaemon:
    """A state directory with so long a history, and a daemon for it."""
    remote = directory / "acme" / "iris.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    daemon = DemoDaemon.prepare(directory, remote)
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
            "INSERT INTO steps VALUES (?, ?, ?, ?, 'done', ?, ?, '')",
            (
                (daemon.app, number, position, step, began + number, began + number + 1)
                for number in range(1, deploys + 1)
                for position, step in enumerate(("fetch", "build", "ready"), start=1)
            ),
        )
        connection.executemany(
            "INSERT INTO deliveries VALUES ('github', ?, 'push', ?, ?)",
            ((str(uuid.uuid4()), began, f'[["{daemon.app}",{at % deploys + 1}]]') for at in range(deliveries)),
        )
        connection.execute("COMMIT")
    return daemon


async def _measure(daemons: dict[str, DemoDaemon], report: Report, rounds: int, questions: int) -> None:
    try:
        for _, size in interleaved(rounds, daemons):
            await daemons[size].stop()
            began = time.monotonic()
            await daemons[size].start()
            await daemons[size].answering()
            report.sample(f"start, {size}", time.monotonic() - began, "s")
        async with Client(daemons["short"].url) as short, Client(daemons["long"].url) as long:
            clients = {"short": short, "long": long}
            for size, client in clients.items():
                await settled(client)
                report.sample(f"resident, {size}", _resident(daemons[size]), "MB")
            for _, size in interleaved(rounds, clients):
                await _ask(clients[size], daemons[size].app, size, _SIZES[size][0], questions, report)
        await _follow(daemons["long"], report)
    finally:
        for daemon in daemons.values():
            await daemon.stop()


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


async def _follow(daemon: DemoDaemon, report: Report) -> None:
    """Many followers of one log, all of whom read it to the end."""
    log = daemon.directory / "state" / "logs" / daemon.app / "1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("a line of a build\n" * 20_000)
    limits = httpx.Limits(max_connections=_FOLLOWERS)
    before = _resident(daemon)
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=daemon.url, trust_env=False, limits=limits, timeout=120) as http:
        path = f"/api/v1/apps/{daemon.app}/deploys/1/log?follow=1"
        answers = await asyncio.gather(*(http.get(path) for _ in range(_FOLLOWERS)))
    whole = sum(len(answer.content) == log.stat().st_size for answer in answers)
    report.sample("followers that got all of one log", whole, "")
    report.sample("500 followers of a 360 KB log", time.monotonic() - began, "s")
    report.sample("memory that 500 followers took", _resident(daemon) - before, "MB")
    report.bar("followers that got all of one log", ">=", _FOLLOWERS, "followers that got all of one log")


def _resident(daemon: DemoDaemon) -> float:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
