"""HAProxy's runtime API over its master socket: read workers, slots and sessions, and send commands.

After a reload the old worker serves its open connections until they end, so there may be several workers; a command goes to
each of them. Knows HAProxy's answers, nothing of apps or containers.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import Unavailable
from deployd.gateway.counters import parse_all, parse_counters, table_of
from deployd.gateway.slots import SLOTS, Endpoint, Slot, Use
from deployd.judge.traffic import Counters, Place, Reading

_ANSWER_SECONDS = 5.0
_LONGEST_SOCKET_PATH = 100
_MAINTENANCE = 0x01 | 0x02 | 0x20  # forced, inherited, by name resolution; 0x04 only repeats what the file says
_DRAINING = 0x08 | 0x10
_ASKED_AT_ONCE = 100  # a line of commands must fit into HAProxy's buffer


@dataclass(frozen=True, slots=True)
class Workers:
    """Process ids of the worker that accepts connections and of old workers; `reloads`: how often the master has reloaded."""

    current: int | None
    leaving: tuple[int, ...]
    reloads: int


class Runtime:
    """One HAProxy. `address` is its master socket: a path, or host and port where there is no shared file system."""

    def __init__(self, address: Path | tuple[str, int]) -> None:
        self._address = address

    @property
    def has_socket(self) -> bool:
        """Whether its socket is a file that is there. One that nobody listens on any more is there, too."""
        return isinstance(self._address, Path) and self._address.exists()

    async def workers(self) -> Workers:
        """Its worker processes."""
        return parse_workers(await self._ask("show proc"))

    async def slots(self, backend: str) -> tuple[Slot, ...]:
        """The slots of a backend in the current worker; empty for an unknown backend."""
        return parse_slots(await self._ask(f"{_to((await self.workers()).current)}show servers state {backend}"))

    async def sessions(self, backend: str) -> dict[Endpoint, int]:
        """Requests and tunnels in progress for each endpoint, in all workers."""
        workers, total = await self.workers(), dict[Endpoint, int]()
        for worker in (workers.current, *workers.leaving):
            for endpoint, count in parse_sessions(await self._ask(f"{_to(worker)}show stat {backend} 4 -1")).items():
                total[endpoint] = total.get(endpoint, 0) + count
        return total

    async def counters(self, backend: str, *, latencies: bool) -> Reading:
        """The counters of each worker for each slot of a backend; with `latencies` also the durations of answers."""
        workers, found = await self.workers(), dict[Place, Counters]()
        for worker in (workers.current, *workers.leaving):
            if worker is not None:
                stat = await self._ask(f"{_to(worker)}show stat {backend} 4 -1")
                table = await self._ask(f"{_to(worker)}show table {backend}") if latencies else ""
                found.update(parse_counters(worker, stat, table))
        return found

    async def all_counters(self, backends: Sequence[str]) -> Mapping[str, Reading]:
        """The counters of each worker for each backend and its slots, and the durations of answers for `backends`."""
        workers, found = await self.workers(), dict[str, dict[Place, Counters]]()
        for worker in (workers.current, *workers.leaving):
            if worker is None:
                continue
            stat, tables = await self._ask(f"{_to(worker)}show stat -1 6 -1"), ""
            for first in range(0, len(backends), _ASKED_AT_ONCE):
                asked = backends[first : first + _ASKED_AT_ONCE]
                tables += await self._ask("; ".join(f"{_to(worker)}show table {backend}" for backend in asked))
            # With many apps, this takes longer than the event loop may be blocked.
            for backend, reading in (await asyncio.to_thread(parse_all, worker, stat, tables)).items():
                found.setdefault(backend, {}).update(reading)
        return found

    async def frontends(self) -> set[str]:
        """The names of the frontends that accept connections."""
        rows = table_of(await self._ask(f"{_to((await self.workers()).current)}show stat -1 1 -1"))
        return {row["pxname"] for row in rows}

    async def description(self) -> str:
        """The description in the config that the current worker has loaded. Unavailable while it is still loading."""
        current = (await self.workers()).current
        if current is None:
            raise Unavailable("the gateway has no worker")
        return parse_description(await self._ask(f"{_to(current)}show info"))

    async def apply(self, commands: Iterable[str]) -> None:
        """Run the commands in order: all of them in the current worker first, then in the old workers."""
        lines, workers = list(commands), await self.workers()
        for worker in (workers.current, *workers.leaving):
            await self._ask("; ".join(_to(worker) + line for line in lines))

    async def reload(self) -> bool:
        """Start a new worker with the present config file; it takes over the listening sockets.

        False when it could not start: then the old worker continues to serve.
        """
        before = await self.workers()
        await self._ask("reload", may_break=True)
        while True:
            try:
                now = await self.workers()
            except Unavailable:  # the master does not answer while it re-executes itself
                await asyncio.sleep(0.02)
                continue
            if now.reloads != before.reloads and now.current in {None, before.current, *before.leaving}:
                return False
            if now.reloads != before.reloads and await self._answers():
                return True
            await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        """Whether the current worker answers. Newer masters list a worker long before it has loaded its config."""
        try:
            await self.description()
        except Unavailable:
            return False
        return True

    async def _ask(self, command: str, *, may_break: bool = False) -> str:
        """Send one command (or several, separated by semicolons) over a connection of its own; the whole answer."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._talk(command)
        except (OSError, TimeoutError, EOFError) as exc:
            if may_break and isinstance(exc, ConnectionError | TimeoutError):
                return ""
            why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise Unavailable(f"the gateway does not answer: {why}") from exc

    async def _talk(self, command: str) -> str:
        if isinstance(self._address, Path):
            with _short(self._address) as path:
                reader, writer = await asyncio.open_unix_connection(path)
        else:
            reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(command.encode() + b"\n")
            writer.write_eof()  # only then does the master answer and close the connection
            return (await reader.read()).decode(errors="replace")
        finally:
            writer.close()


def parse_workers(text: str) -> Workers:
    """Parse the answer to `show proc`. The current worker is the one that was forked last, also after a failed reload."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    masters = [row for row in rows if row[1:2] == ["master"]]
    workers = sorted((int(row[2]), int(row[0])) for row in rows if row[1:2] == ["worker"])
    if not masters:
        raise Unavailable(f"the gateway does not list its processes: {text[:200]!r}")
    ids = [pid for _, pid in workers]
    return Workers(ids[0] if ids else None, tuple(ids[1:]), int(masters[0][2]))


def parse_description(text: str) -> str:
    """Parse the answer to `show info`: the description, empty when there is none."""
    found = {name: value.strip() for name, _, value in (line.partition(": ") for line in text.splitlines())}
    if "Name" not in found:
        raise Unavailable(f"the gateway's worker does not describe itself: {text[:200]!r}")
    return found.get("description", "")


def parse_slots(text: str) -> tuple[Slot, ...]:
    """Parse the answer to `show servers state BACKEND`, whose second line names the columns; empty for any other text."""
    lines = [line for line in text.splitlines() if line.strip()]
    header = next((line[2:].split() for line in lines if line.startswith("# ")), [])
    rows = [dict(zip(header, line.split(" "), strict=False)) for line in lines[2:]] if header else []
    found = {row["srv_name"]: _slot(row) for row in rows if "srv_port" in row}
    names = [f"s{number}" for number in range(1, SLOTS + 1)]
    return tuple(found[name] for name in names) if all(name in found for name in names) else ()


def parse_sessions(text: str) -> dict[Endpoint, int]:
    """Parse the answer to `show stat BACKEND 4 -1`: current and queued sessions for each endpoint."""
    found: dict[Endpoint, int] = {}
    for row in table_of(text):
        host, _, port = (row.get("addr") or "").rpartition(":")
        if host and port.isdigit():
            endpoint = Endpoint(host, int(port))
            found[endpoint] = found.get(endpoint, 0) + int(row.get("scur") or 0) + int(row.get("qcur") or 0)
    return found


def _slot(row: dict[str, str]) -> Slot:
    endpoint, admin = Endpoint(row["srv_addr"], int(row["srv_port"])), int(row["srv_admin_state"])
    if admin & _MAINTENANCE or row["srv_op_state"] == "0":
        return Slot()
    return Slot(endpoint, Use.DRAIN if admin & _DRAINING else Use.READY)


def _to(worker: int | None) -> str:
    """The prefix that sends a command to the worker with this process id."""
    return f"@!{worker} " if worker is not None else "@1 "


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A path to the socket that is short enough for a socket address (about 100 bytes)."""
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
