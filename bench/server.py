"""A server that is measured, ours or a rival's: its process from start to end, its load by wrk, its CPU time and its memory."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import cache

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Contender:
    """An installed server: its command, with {port} in it, and the path and kind of body of its requests."""

    command: tuple[str, ...]
    path: str
    body: str
    environment: Mapping[str, str]
    folder: Path


def trained(out: Path, task: str) -> Path:
    """The directory of a model of ours that was trained."""
    train = [sys.executable, "-m", "model_service.train", "--task", task, "--out", str(out)]
    subprocess.run(train, cwd=ROOT, check=True, capture_output=True)
    return out


def ours(model: Path, *options: str) -> Contender:
    """Our service with a model."""
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


@contextmanager
def serving(contender: Contender, body: bytes) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """Run a new server in its own session; yields its process, its URL, and the seconds from its start to its first answer."""
    port = _free_ports()
    known = {"port": str(port), "port+1": str(port + 1), "port+2": str(port + 2)}
    more = {name: filled(value, known) for name, value in contender.environment.items()}
    began = time.monotonic()
    process = subprocess.Popen(
        [filled(word, known) for word in contender.command],
        cwd=contender.folder,
        env=os.environ | more | {"RIVAL_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}{contender.path}"
    try:
        _until_answered(process, url, body)
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


def ask(url: str, body: bytes, connections: int, seconds: int, server: int) -> dict[str, float]:
    """Requests/s, p99 in ms, failed requests, and the server's CPU time per request in µs."""
    script = cache() / "post.lua"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_LUA % body.decode())
    command = ["wrk", "-t1", f"-c{connections}", "--timeout", "10s", "-s", str(script)]
    subprocess.run([*command, "-d1s", url], capture_output=True, check=True)
    before = cpu_seconds(server)
    output = subprocess.run([*command, f"-d{seconds}s", url], capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(server) - before
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


def memory(leader: int) -> float:
    """The resident memory of a server with its descendants, in megabytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(leader)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(leader: int) -> float:
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


def filled(text: str, known: Mapping[str, str]) -> str:
    """The text with what is known in place of its names in braces."""
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text
