"""One SQLite file, one transaction at a time, many writes per fsync.

A write is a small function on a connection. Writes that arrive while the disk syncs share the next transaction (group commit).
When one of them raises, only its own work is undone; a write may therefore run twice. A write is answered only after its
commit is durable (WAL, synchronous=FULL). Nothing outside this package imports sqlite3.

The statements run on the event loop: they take microseconds each, and in a thread they would compete with the loop for the
interpreter's lock, which sqlite3 releases at each statement. What may block on the disk or on another process runs in a
thread: the commit, and the start of a transaction while the database is locked.
"""

import asyncio
import errno
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from deployd.errors import ConfigError, Unavailable
from deployd.store.schema import migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Call = Callable[[], object]
Then = Callable[[sqlite3.Error | None], object]

_MOST_IN_ONE = 64
_BUSY_SECONDS = 5
_NEVER_WAIT = "PRAGMA busy_timeout = 0"
_NO_ROOM = "free some space in the state directory"


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Database:
    """Opens, writes and reads one database file. Use it as an async context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: deque[_Job] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._local = threading.local()
        self._calls: queue.SimpleQueue[tuple[Call, Then] | None] = queue.SimpleQueue()
        self._disk = threading.Thread(target=self._call_all, name="store-disk", daemon=True)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-read")
        self._connections: list[sqlite3.Connection] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            self._writer = await asyncio.to_thread(self._open)
        except (sqlite3.Error, OSError) as exc:
            if _may_pass(exc):
                raise Unavailable(f"{self._path} cannot be used now: {exc}", hint=_NO_ROOM) from exc
            raise ConfigError(
                f"server.state_dir: {self._path} cannot be used: {exc}", hint="it must be a writable local disk"
            ) from exc
        self._disk.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._idle.wait()
        self._calls.put(None)
        for ended in (self._disk.join, self._readers.shutdown):
            await asyncio.to_thread(ended)
        for connection in [*self._connections, self._writer]:
            connection.close()

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        """Run `work` in a transaction. The future gets the result once it is durable, or Unavailable when the disk refuses.

        Cancelling the future does not undo the write.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append(_Job(work, future))
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._next)
        return future

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a read-only connection; it sees everything that was committed before."""
        try:
            return await self._loop.run_in_executor(self._readers, self._read, work)
        except sqlite3.Error as exc:
            raise Unavailable(f"the database cannot be read: {exc}", hint=f"see {self._path}") from exc

    async def backup(self, to: Path) -> None:
        """Write a consistent and complete copy to a file, while the database is in use."""

        def copy(connection: sqlite3.Connection) -> None:
            with sqlite3.connect(to) as target:
                connection.backup(target)
            target.close()

        await self.read(copy)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
            connection.execute(_NEVER_WAIT)
        except sqlite3.Error:
            connection.close()  # otherwise a failed migration keeps its lock on the database
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _read(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._connections.append(connection)
        return work(connection)

    def _next(self) -> None:
        """Begin a transaction for the waiting writes; those that arrive meanwhile wait for the next one."""
        self._batch = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MOST_IN_ONE))]
        if not self._batch:
            self._idle.set()
            return
        try:
            self._begin()
        except sqlite3.Error as exc:
            if _code(exc).startswith("SQLITE_BUSY"):
                self._aside(self._begin_waiting, self._begun)
            else:
                self._end(exc)
        else:
            self._work()

    def _begun(self, refused: sqlite3.Error | None) -> None:
        """Go on after waiting for a lock. If the wait failed, refuse the writes that arrived meanwhile too: one wait after the
        other would exceed the timeout of a forge."""
        if refused is None:
            self._work()
        else:
            self._batch += self._jobs
            self._jobs.clear()
            self._end(refused)

    def _work(self) -> None:
        """Run the jobs of the batch. When one raises, run all again with a savepoint each, so that only its work is lost."""
        try:
            try:
                for job in self._batch:
                    job.result = job.work(self._writer)
            except sqlite3.OperationalError:
                raise  # the disk, not a job
            except Exception:  # noqa: BLE001 - the second run finds the job and gives its caller the error
                self._writer.execute("ROLLBACK")
                self._begin()
                for job in self._batch:
                    self._work_apart(job)
        except sqlite3.Error as exc:
            self._end(exc)
        else:
            self._aside(self._commit, self._end)

    def _work_apart(self, job: _Job) -> None:
        self._writer.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._writer)
        except sqlite3.OperationalError:
            raise  # the whole transaction fails
        except Exception as exc:  # noqa: BLE001 - it belongs to the caller, who awaits the future
            self._writer.execute("ROLLBACK TO job")
            job.error = exc
        self._writer.execute("RELEASE job")

    def _end(self, refused: sqlite3.Error | None) -> None:
        """Answer the batch, and begin the next one two turns of the loop later.

        By then the answers are sent and new requests are read, so these share the next sync, and this thread has little to do
        during it; otherwise the two threads compete for the interpreter.
        """
        if refused is not None:
            if self._writer.in_transaction:
                with suppress(sqlite3.Error):  # the next BEGIN is then refused, and comes here again
                    self._writer.execute("ROLLBACK")
            for job in self._batch:
                job.error = _refused(refused)
        _answer(self._batch)
        self._loop.call_soon(self._loop.call_soon, self._next)

    def _begin(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")

    def _begin_waiting(self) -> None:
        self._writer.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")
        try:
            self._begin()
        finally:
            self._writer.execute(_NEVER_WAIT)

    def _commit(self) -> None:
        self._writer.commit()

    def _aside(self, call: Call, then: Then) -> None:
        """Run `call` in the disk thread, then `then` on the loop; cheaper than an executor."""
        self._calls.put((call, then))

    def _call_all(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, then = asked
            refused: sqlite3.Error | None = None
            try:
                call()
            except sqlite3.Error as exc:
                refused = exc
            self._loop.call_soon_threadsafe(then, refused)


def _answer(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue  # the caller was cancelled meanwhile
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _refused(exc: sqlite3.Error) -> Unavailable:
    hint = _NO_ROOM if "full" in str(exc) else "see the state directory's disk"
    return Unavailable(f"the state cannot be written: {exc}", hint=hint)


def _may_pass(exc: sqlite3.Error | OSError) -> bool:
    """Whether trying again may help: a full disk or a locked file is not a fault of the config."""
    if isinstance(exc, OSError):
        return exc.errno in {errno.ENOSPC, errno.EDQUOT}
    return _code(exc).startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY"))


def _code(exc: sqlite3.Error) -> str:
    """SQLite's name for the error; "" when the error comes from Python's sqlite3."""
    return str(getattr(exc, "sqlite_errorname", ""))
