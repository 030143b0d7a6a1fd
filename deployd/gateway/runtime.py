"""HAProxy's own account of itself, asked over its master socket: workers, slots, sessions; and the commands that change it.

After a reload the former worker goes on with its clients until they are done, so there may be several workers; a command goes
to each. Knows HAProxy's answers, nothing of apps or containers.
"""

import asyncio
import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import Unavailable
from deployd.gateway.slots import SLOTS, Endpoint, Slot, Use

_ANSWER_SECONDS = 5.0
_LONGEST_SOCKET_PATH = 100
_MAINTENANCE = 0x01 | 0x02 | 0x20  # forced, inherited, by name resolution; 0x04 only says what the file had
_DRAINING = 0x08 | 0x10


@dataclass(frozen=True, slots=True)
class Workers:
    """The process ids of the worker that takes new connections and of those that only finish; `reloads` counts the master's."""

    current: int | None
    leaving: tuple[int, ...]
    reloads: int


class Runtime:
    """One HAProxy, by its master socket: a path, or a host and port where there is no shared file system."""

    def __init__(self, address: Path | tuple[str, int]) -> None:
        self._address = address

    async def workers(self) -> Workers:
        """Which processes it has now."""
        return parse_workers(await self._ask("show proc"))

    async def slots(self, backend: str) -> tuple[Slot, ...]:
        """The slots of a backend as the current worker has them; none for an unknown backend."""
        return parse_slots(await self._ask(f"{_to((await self.workers()).current)}show servers state {backend}"))

    async def sessions(self, backend: str) -> dict[Endpoint, int]:
        """Requests and tunnels in progress by endpoint, over all workers."""
        workers, total = await self.workers(), dict[Endpoint, int]()
        for worker in (workers.current, *workers.leaving):
            for endpoint, count in parse_sessions(await self._ask(f"{_to(worker)}show stat {backend} 4 -1")).items():
                total[endpoint] = total.get(endpoint, 0) + count
        return total

    async def frontends(self) -> set[str]:
        """The names of the frontends that take connections now."""
        rows = _table(await self._ask(f"{_to((await self.workers()).current)}show stat -1 1 -1"))
        return {row["pxname"] for row in rows}

    async def description(self) -> str:
        """What the config that the current worker has read says of itself. Unavailable while it still reads."""
        current = (await self.workers()).current
        if current is None:
            raise Unavailable("the gateway has no worker")
        return parse_description(await self._ask(f"{_to(current)}show info"))

    async def apply(self, commands: Iterable[str]) -> None:
        """Run the commands in order, all of them in the current worker first, then in those that leave."""
        lines, workers = list(commands), await self.workers()
        for worker in (workers.current, *workers.leaving):
            await self._ask("; ".join(_to(worker) + line for line in lines))

    async def reload(self) -> bool:
        """Start a new worker from the file, which takes over the listening sockets; False when it could not start.

        Then the former worker goes on as if nothing had been asked.
        """
        before = await self.workers()
        await self._ask("reload", may_break=True)
        while True:
            try:
                now = await self.workers()
            except Unavailable:  # the master executes itself anew and is away meanwhile
                await asyncio.sleep(0.02)
                continue
            if now.reloads != before.reloads and now.current in {None, before.current, *before.leaving}:
                return False
            if now.reloads != before.reloads and await self._answers():
                return True
            await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        """The current worker speaks for itself: newer masters name it long before it has read its config."""
        try:
            await self.description()
        except Unavailable:
            return False
        return True

    async def _ask(self, command: str, *, may_break: bool = False) -> str:
        """One command (or several, separated by semicolons), one connection, the whole answer."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._talk(command)
        except (OSError, TimeoutError, EOFError) as exc:
            if may_break and isinstance(exc, ConnectionError | TimeoutError):
                return ""
            raise Unavailable(f"the gateway does not answer: {str(exc) or type(exc).__name__}") from exc

    async def _talk(self, command: str) -> str:
        if isinstance(self._address, Path):
            with _short(self._address) as path:
                reader, writer = await asyncio.open_unix_connection(path)
        else:
            reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(command.encode() + b"\n")
            writer.write_eof()  # the master answers and closes only when it knows that nothing more comes
            return (await reader.read()).decode(errors="replace")
        finally:
            writer.close()


def parse_workers(text: str) -> Workers:
    """The answer to `show proc`. The worker that was forked last is the current one, also after a reload that failed."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    masters = [row for row in rows if row[1:2] == ["master"]]
    workers = sorted((int(row[2]), int(row[0])) for row in rows if row[1:2] == ["worker"])
    if not masters:
        raise Unavailable(f"the gateway gives no account of its processes: {text[:200]!r}")
    ids = [pid for _, pid in workers]
    return Workers(ids[0] if ids else None, tuple(ids[1:]), int(masters[0][2]))


def parse_description(text: str) -> str:
    """The description in the answer to `show info`, empty when it has none."""
    found = {name: value.strip() for name, _, value in (line.partition(": ") for line in text.splitlines())}
    if "Name" not in found:
        raise Unavailable(f"the gateway's worker gives no account of itself: {text[:200]!r}")
    return found.get("description", "")


def parse_slots(text: str) -> tuple[Slot, ...]:
    """The answer to `show servers state BACKEND`, by the names in its second line; none when it is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    header = next((line[2:].split() for line in lines if line.startswith("# ")), [])
    rows = [dict(zip(header, line.split(" "), strict=False)) for line in lines[2:]] if header else []
    found = {row["srv_name"]: _slot(row) for row in rows if "srv_port" in row}
    names = [f"s{number}" for number in range(1, SLOTS + 1)]
    return tuple(found[name] for name in names) if all(name in found for name in names) else ()


def parse_sessions(text: str) -> dict[Endpoint, int]:
    """The answer to `show stat BACKEND 4 -1`: sessions that have begun or wait, by endpoint."""
    found: dict[Endpoint, int] = {}
    for row in _table(text):
        host, _, port = (row.get("addr") or "").rpartition(":")
        if host and port.isdigit():
            endpoint = Endpoint(host, int(port))
            found[endpoint] = found.get(endpoint, 0) + int(row.get("scur") or 0) + int(row.get("qcur") or 0)
    return found


def _table(text: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(line.removeprefix("# ") for line in text.splitlines() if line.strip())


def _slot(row: dict[str, str]) -> Slot:
    endpoint, admin = Endpoint(row["srv_addr"], int(row["srv_port"])), int(row["srv_admin_state"])
    if admin & _MAINTENANCE or row["srv_op_state"] == "0":
        return Slot()
    return Slot(endpoint, Use.DRAIN if admin & _DRAINING else Use.READY)


def _to(worker: int | None) -> str:
    """The prefix that sends a command to a worker, by its process id."""
    return f"@!{worker} " if worker is not None else "@1 "


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a socket that fits into a socket address, which holds about a hundred bytes."""
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
