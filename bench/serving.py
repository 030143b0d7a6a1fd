"""The model service beside its rivals: wrk at 1, 16 and 64 connections, with one row and 100 rows per request.

In each round every server is started anew and measured alone. The ceiling is a bare ASGI callable with the same uvicorn flags.
wrk runs with one thread on the same machine, so it is part of every figure.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import APPS, RIVALS, UVICORN_FLAGS, NotInstallable, Rival, cache, installed
from bench.report import Report, interleaved

ROW = [5.8, 4.0, 1.2, 0.2]
CONNECTIONS = (1, 16, 64)
ROOT = Path(__file__).parent.parent
OURS, CEILING = "model_service", "ceiling"
# The same service with an estimator that is not a tree, with and without micro-batching.
BATCHED, SINGLE = "pipeline", "pipeline without batching"


@dataclass(frozen=True)
class Contender:
    """An installed server: its command, with {port} in it, and the path and kind of body of its requests."""

    command: tuple[str, ...]
    path: str
    body: str
    environment: Mapping[str, str]
    folder: Path


def run(quick: bool, report: Report) -> None:
    """Measure, and compare the medians with the bars."""
    rounds, seconds = (1, 1) if quick else (3, 4)
    with tempfile.TemporaryDirectory(prefix="deployd-bench-") as scratch:
        contenders = _contenders(Path(scratch), report)
        for _, name in interleaved(rounds, contenders):
            if name not in report.absences:
                _measure(report, name, contenders[name], seconds)
    peers = [name for name in contenders if name in RIVALS and RIVALS[name].peer]
    _judge(report, peers)
    report.note(
        f"{os.cpu_count()} CPUs, wrk -t1, {seconds} s per figure after 1 s of warm-up; the bars leave out requests of 100 rows"
    )


def _contenders(scratch: Path, report: Report) -> dict[str, Contender]:
    ceiling = (sys.executable, "-m", "uvicorn", "ceiling_app:app", "--port", "{port}", *UVICORN_FLAGS)
    pipeline = _trained(scratch / "pipeline", "bench.pipeline_task")
    found = {
        OURS: _ours(_trained(scratch / "model", "model_service.iris")),
        CEILING: Contender(ceiling, "/", "instances", {}, APPS),
        BATCHED: _ours(pipeline),
        SINGLE: _ours(pipeline, "--batch-rows", "1"),
    }
    for name, rival in RIVALS.items():
        try:
            found[name] = _rival(rival, installed(rival))
        except NotInstallable as exc:
            report.absent(name, str(exc))
    return found


def _trained(out: Path, task: str) -> Path:
    train = [sys.executable, "-m", "model_service.train", "--task", task, "--out", str(out)]
    subprocess.run(train, cwd=ROOT, check=True, capture_output=True)
    return out


def _ours(model: Path, *options: str) -> Contender:
    command = (
        sys.executable,
        "-m",
        "model_service",
        "--dir",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        *options,
    )
    return Contender(command, "/predict", "instances", {}, ROOT)


def _rival(rival: Rival, home: Path) -> Contender:
    known = {"bin": str(home / "venv/bin"), "dir": str(home)}
    command = tuple(_filled(word, known) for word in rival.command)
    environment = {name: _filled(value, known) for name, value in rival.env.items()} | {"RIVAL_DIR": str(home)}
    environment["PATH"] = f"{known['bin']}:{os.environ['PATH']}"
    return Contender(command, rival.path, rival.body, environment, APPS)


def _measure(report: Report, name: str, contender: Contender, seconds: int) -> None:
    """Measure one contender in one round, from its start to its end."""
    try:
        with _serving(contender) as (process, url, started):
            report.sample(f"{name}: start", started, "s")
            for rows in (1, 100):
                for connections in CONNECTIONS:
                    figures = _wrk(url, _body(contender.body, rows), connections, seconds, process.pid)
                    kind = f"{name}: {connections} connections" + (", 100 rows" if rows > 1 else "")
                    report.sample(f"{kind}, throughput", figures["rate"], "requests/s")
                    report.sample(f"{kind}, p99", figures["p99"], "ms")
                    report.sample(f"{kind}, CPU", figures["cpu"], "µs/request")
                    if figures["failed"]:
                        report.note(f"{kind}: {figures['failed']:.0f} requests failed")
            report.sample(f"{name}: memory", _memory(process.pid), "MB")
    except (TimeoutError, RuntimeError) as exc:
        report.withdraw(name, f"{type(exc).__name__}: {exc}")


def _judge(report: Report, peers: list[str]) -> None:
    for connections in CONNECTIONS:
        cell = f"{connections} connections"
        ours = f"{OURS}: {cell}"
        report.ratio(f"{cell}: of the ceiling", f"{ours}, throughput", f"{CEILING}: {cell}, throughput")
        report.bar(f"{cell}: share of the ceiling", ">=", 0.6, f"{cell}: of the ceiling")
        report.ratio(f"{cell}: x recipe", f"{ours}, throughput", f"recipe: {cell}, throughput")
        report.bar(f"{cell}: times the recipe", ">=", 20, f"{cell}: x recipe")
        report.ratio(f"{cell}: CPU to the ceiling's", f"{ours}, CPU", f"{CEILING}: {cell}, CPU")
        report.ratio(f"{cell}: the recipe's CPU to ours", f"recipe: {cell}, CPU", f"{ours}, CPU")
        report.ratio(f"{cell}: gain by batching", f"{BATCHED}: {cell}, throughput", f"{SINGLE}: {cell}, throughput")
        for peer in peers:
            report.ratio(f"{cell}: x {peer}", f"{ours}, throughput", f"{peer}: {cell}, throughput")
            report.ratio(f"{cell}: CPU of {peer} to ours", f"{peer}: {cell}, CPU", f"{ours}, CPU")
            report.ratio(f"{cell}: p99 / {peer}", f"{ours}, p99", f"{peer}: {cell}, p99")
        _judge_worst(report, cell, peers)
    report.bar("memory", "<=", 80, f"{OURS}: memory", "MB")
    report.bar("start to ready", "<=", 1, f"{OURS}: start", "s")


def _judge_worst(report: Report, cell: str, peers: list[str]) -> None:
    """The bars against the best peer: in each round, the worst of our ratios."""
    faster = [report.ratios[f"{cell}: x {peer}"] for peer in peers if f"{cell}: x {peer}" in report.ratios]
    steadier = [report.ratios[f"{cell}: p99 / {peer}"] for peer in peers if f"{cell}: p99 / {peer}" in report.ratios]
    if faster:
        report.ratios[f"{cell}: x best peer"] = [min(of_round) for of_round in zip(*faster, strict=True)]
        report.ratios[f"{cell}: p99 / best peer"] = [max(of_round) for of_round in zip(*steadier, strict=True)]
    report.bar(f"{cell}: times the best peer", ">=", 5, f"{cell}: x best peer")
    report.bar(f"{cell}: p99 to the best peer's", "<", 1, f"{cell}: p99 / best peer")


@contextmanager
def _serving(contender: Contender) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """Run a new server in its own session; yields its process, its URL, and the seconds from its start to its first answer."""
    port = _free_ports()
    known = {"port": str(port), "port+1": str(port + 1), "port+2": str(port + 2)}
    filled = {name: _filled(value, known) for name, value in contender.environment.items()}
    began = time.monotonic()
    process = subprocess.Popen(
        [_filled(word, known) for word in contender.command],
        cwd=contender.folder,
        env=os.environ | filled | {"RIVAL_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}{contender.path}"
    try:
        _until_answered(process, url, _body(contender.body, 1))
        yield process, url, time.monotonic() - began
    finally:
        _end(process)


def _until_answered(process: subprocess.Popen[bytes], url: str, body: bytes) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode} while it started")
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # loopback
            urllib.request.urlopen(request, timeout=5).read()  # noqa: S310  # as above
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.01)
        else:
            return
    raise TimeoutError("no answer within 90 s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with all its descendants: some rivals leave children behind."""
    family = _family(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    for left in family.keys() - {process.pid}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def _wrk(url: str, body: bytes, connections: int, seconds: int, server: int) -> dict[str, float]:
    """Requests/s, p99 in ms, failed requests, and the server's CPU time per request in µs."""
    script = cache() / "post.lua"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_LUA % body.decode())
    command = ["wrk", "-t1", f"-c{connections}", "--timeout", "10s", "-s", str(script)]
    subprocess.run([*command, "-d1s", url], capture_output=True, check=True)
    before = _cpu(server)
    output = subprocess.run([*command, f"-d{seconds}s", url], capture_output=True, text=True, check=True).stdout
    spent = _cpu(server) - before
    found = re.search(r"figures (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk did not print the figures: {output[-200:]}")
    requests, microseconds, p99, failed = map(float, found.groups())
    rate = (requests - failed) / microseconds * 1e6
    return {"rate": rate, "p99": p99 / 1000, "failed": failed, "cpu": spent / max(1.0, requests) * 1e6}


_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [=[%s]=]
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("figures %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def _body(kind: str, rows: int) -> bytes:
    given = [ROW] * rows
    if kind == "v2":
        flat = [value for row in given for value in row]
        return json.dumps({"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": flat}]}).encode()
    return json.dumps({kind: given}).encode()


def _memory(leader: int) -> float:
    """The resident memory of a server with its descendants, in megabytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(leader)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu(leader: int) -> float:
    """The CPU seconds of a server with its descendants: right even when other work shares the machine."""
    ticks = [sum(map(int, fields[11:13])) for fields in _family(leader).values()]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _family(leader: int) -> dict[int, list[str]]:
    """The process, its descendants and its session: pid -> the fields of /proc/PID/stat, from the process state on."""
    alive: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            alive[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
    family = {pid for pid, fields in alive.items() if pid == leader or int(fields[3]) == leader}
    grown = True
    while grown:
        more = {pid for pid, fields in alive.items() if int(fields[1]) in family} - family
        family |= more
        grown = bool(more)
    return {pid: alive[pid] for pid in family if pid in alive and alive[pid][0] != "Z"}


def _free_ports() -> int:
    """A port that is free now, with two more above it."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return min(port, 65_000)


def _filled(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text
