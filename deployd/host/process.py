"""The lock on the state directory, and signals as events. Knows nothing of deploys."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import ConfigError


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Lock the state directory. A second daemon on it would undo the work of the first, so it gets a ConfigError."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("a+")
    except OSError as exc:
        hint = "it must be a writable local disk"
        raise ConfigError(f"server.state_dir: {state_dir}: {exc.strerror}", hint=hint) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.seek(0)
            raise ConfigError(
                f"server.state_dir: {state_dir} is in use by another deployd (pid {lock.read().strip()})",
                hint="give each daemon a state_dir of its own",
            ) from exc
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def signals(stop: asyncio.Event, hangup: asyncio.Event) -> Iterator[None]:
    """Inside the block, SIGTERM and SIGINT set `stop`, and SIGHUP sets `hangup`."""
    loop = asyncio.get_running_loop()
    events = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hangup}
    for number, event in events.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in events:
            loop.remove_signal_handler(number)
