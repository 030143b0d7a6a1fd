"""Signed pushes to a durable 202, beside Debian's `webhook`, which checks the same signature and starts a command.

wrk sends 8 KB push events with distinct GUIDs at 1, 8 and 64 connections. Our database must contain at least as many of them as
were answered 202; those in flight when wrk stopped, at most one per connection, may be there too. `webhook` answers before it
starts the command, so it still works after its last answer: the next round begins when that has ended, and `done` counts that
time. CPU is the user and system time of the process for each delivery, without that of the commands which `webhook` starts. A
round in which the host took too much processor time is run again, for both alike.
"""

import asyncio
import hashlib
import hmac
import json
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.environment import settled
from bench.host import Ticks, processor_seconds, processor_ticks
from bench.report import Report, interleaved
from bench.wrk import Round, wrk
from deployd.bringup import engine, images
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.packages import ensure_packages
from deployd.client import Client
from deployd.errors import Unavailable

_AT = {connections: f"at {connections}" for connections in (1, 8, 64)}
_BODIES = 2000
_BODY_BYTES = 8192
_AT_REST_S = 0.5
_CALM = 0.05
_ATTEMPTS = 3

_SCRIPT = """
local bodies, signatures = {{}}, {{}}
for line in io.lines("{bodies}") do
  local signature, body = line:match("^(%x+) (.*)$")
  signatures[#signatures + 1], bodies[#bodies + 1] = signature, body
end
local count = 0
request = function()
  count = count + 1
  local at = count % #bodies + 1
  return wrk.format("POST", "{path}", {{
    ["Content-Type"] = "application/json",
    ["X-GitHub-Event"] = "push",
    ["X-GitHub-Delivery"] = string.format("{guids}-%08d", count),
    ["X-Hub-Signature-256"] = "sha256=" .. signatures[at],
  }}, bodies[at])
end
"""


def run(quick: bool, report: Report) -> None:
    """Measure both in turn, round by round."""
    for program in ("wrk", "webhook"):
        _install(program, report)
    if shutil.which("wrk") is None:
        return
    host = engine.ensure()
    images.ensure(host)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        remote = directory / "acme" / "iris.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        daemon = DemoDaemon.prepare(directory, remote)
        try:
            asyncio.run(_measure(daemon, report, rounds=3 if quick else 11, seconds=1 if quick else 2))
        finally:
            daemon.remove_everything(host.api())
    for at in _AT.values():
        for figure in ("answered", "done", "p99", "CPU"):
            report.ratio(f"{figure} {at}: deployd / webhook", f"deployd {figure} {at}", f"webhook {figure} {at}")
    report.bar("done at 8 connections", ">=", 3.0, "done at 8: deployd / webhook")
    report.bar("answered at 8 connections", ">=", 1.1, "answered at 8: deployd / webhook")
    report.bar("p99 at 8 connections", "<=", 0.5, "p99 at 8: deployd / webhook")
    report.bar("202 answers that are not on disk", "<=", 0, "lost")
    report.bar("deliveries to deployd that failed", "<=", 0, "deployd failed")


def _install(program: str, report: Report) -> None:
    try:
        ensure_packages(program)
    except Unavailable as exc:
        report.absent(program, str(exc))


async def _measure(daemon: DemoDaemon, report: Report, rounds: int, seconds: int) -> None:
    names = ["deployd", "webhook"] if shutil.which("webhook") else ["deployd"]
    async with daemon.running():
        async with Client(daemon.api) as client:
            await client.pause(daemon.app)
            await settled(client)
        with _rival(daemon.directory, daemon.secret) as rival:
            course = _Course(daemon, rival, report, seconds)
            for connections in _AT:
                for turn, name in interleaved(rounds, names):
                    await course.run(name, connections, turn)
    answered = course.answered
    stored = _stored(daemon.directory / "state" / "deployd.db", answered)
    for name in names:
        report.sample(f"{name} failed", course.failed[name], "")
    report.sample("lost", sum(max(0, count - stored[guids]) for guids, count in answered.items()), "")
    report.note(f"{sum(answered.values())} deliveries were answered 202, {sum(stored.values())} are on disk")
    report.note(
        f"{course.repeated} rounds were run again, as the host had taken more than {_CALM:.0%} of the processors"
    )


class _Course:
    """Runs the rounds. `answered` counts deployd's answers by the GUID prefix of the run, `failed` counts failures by name."""

    def __init__(self, daemon: DemoDaemon, rival: "_Rival", report: Report, seconds: int) -> None:
        self.answered: dict[str, int] = {}
        self.failed: Counter[str] = Counter()
        self.repeated = 0
        assert daemon.process is not None
        self._urls = {"deployd": f"{daemon.url}/webhooks/github", "webhook": rival.url}
        self._pids = {"deployd": daemon.process.pid, "webhook": rival.pid}
        self._bodies = _sign(daemon.directory / "bodies", daemon.secret)
        self._script = daemon.directory / "wrk.lua"
        self._rival, self._report, self._seconds = rival, report, seconds

    async def run(self, name: str, connections: int, turn: int) -> None:
        """One round: of a few attempts, the one in which the host took the least processor time."""
        attempts: list[_Attempt] = []
        while len(attempts) < _ATTEMPTS and (not attempts or attempts[-1].stolen > _CALM):
            self.repeated += bool(attempts)
            attempts.append(await self._attempt(name, connections, f"{connections}-{turn}-{len(attempts)}"))
        calmest = min(attempts, key=lambda attempt: attempt.stolen)
        round_, at = calmest.round, _AT[connections]
        self._report.sample(f"{name} answered {at}", round_.rate, "/s")
        self._report.sample(f"{name} p50 {at}", round_.p50, "ms")
        self._report.sample(f"{name} p99 {at}", round_.p99, "ms")
        self._report.sample(f"{name} done {at}", round_.answered / (self._seconds + calmest.late), "/s")
        self._report.sample(f"{name} CPU {at}", 1e6 * calmest.processor / max(1, round_.answered), "µs")
        self._report.sample(f"host took {at} from {name}", 100 * calmest.stolen, "%")

    async def _attempt(self, name: str, connections: int, guids: str) -> "_Attempt":
        path = "/" + self._urls[name].split("/", 3)[3]
        self._script.write_text(_SCRIPT.format(bodies=self._bodies, path=path, guids=guids))
        before, spent = Ticks.now(), processor_seconds(self._pids[name])
        round_ = await asyncio.to_thread(wrk, self._urls[name], self._script, connections, self._seconds)
        stolen = before.stolen_since()
        self.failed[name] += round_.failed
        late = 0.0
        if name == "deployd":
            self.answered[guids] = round_.answered
        else:
            late = await self._rival.done()
        return _Attempt(stolen, round_, late, processor_seconds(self._pids[name]) - spent)


def _stored(database: Path, runs: Iterable[str]) -> dict[str, int]:
    """The number of deliveries of each run that are on disk."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT count(*) FROM deliveries WHERE forge = 'github' AND guid >= ? AND guid < ?"
        return {run: connection.execute(query, (f"{run}-", f"{run}.")).fetchone()[0] for run in runs}


def _sign(path: Path, secret: str) -> Path:
    """Write push events of 8 KB, one per line, each after its signature."""
    repository = {"id": 1, "full_name": "acme/iris", "html_url": "https://github.com/acme/iris"}
    with path.open("wb") as file:
        for number in range(_BODIES):
            commit = hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
            payload = {
                "ref": "refs/heads/main",
                "before": "0" * 40,
                "after": commit,
                "created": False,
                "deleted": False,
                "forced": False,
                "base_ref": None,
                "compare": "",
                "commits": [{"id": commit, "message": "Change", "added": [], "removed": [], "modified": ["model.py"]}],
                "head_commit": {"id": commit, "message": "Change", "author": {"name": "Ada"}},
                "repository": {**repository, "description": ""},
                "pusher": {"name": "ada"},
            }
            missing = _BODY_BYTES - len(_compact(payload))
            payload["repository"] = {**repository, "description": "d" * missing}
            body = _compact(payload)
            file.write(hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode() + b" " + body + b"\n")
    return path


def _compact(payload: object) -> bytes:
    """JSON without spaces, as GitHub writes it."""
    return json.dumps(payload, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class _Rival:
    url: str
    pid: int

    async def done(self) -> float:
        """Wait until it has ended all its commands; the seconds for which it still worked."""
        began = last = time.monotonic()
        spent = self._spent()
        while (now := time.monotonic()) - last < _AT_REST_S:
            await asyncio.sleep(0.05)  # no event tells what another process does
            if (more := self._spent()) != spent:
                spent, last = more, now
        return last - began

    def _spent(self) -> list[int]:
        """The processor time of the process and of its children that ended."""
        return processor_ticks(self.pid)


@contextmanager
def _rival(directory: Path, secret: str) -> Iterator[_Rival]:
    """Run Debian's webhook with the same rule; the URL is empty when it is not installed."""
    program = shutil.which("webhook")
    if program is None:
        yield _Rival("", 0)
        return
    rule = {
        "match": {
            "type": "payload-hmac-sha256",
            "secret": secret,
            "parameter": {"source": "header", "name": "X-Hub-Signature-256"},
        }
    }
    hooks = directory / "hooks.json"
    hooks.write_text(json.dumps([{"id": "push", "execute-command": "true", "trigger-rule": rule}]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _answering(port, process)
        yield _Rival(f"http://127.0.0.1:{port}/hooks/push", process.pid)
    finally:
        process.terminate()
        process.wait()


def _answering(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Unavailable("webhook did not start")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What the host took of the processors, what was measured, for how many seconds the work went on after the last answer, and
    what the process took of the processors, in seconds."""

    stolen: float
    round: Round
    late: float
    processor: float
