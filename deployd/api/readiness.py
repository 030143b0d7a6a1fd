"""Checks of the parts that deploys need: the database, its disk, and the targets of the apps.

Anybody may ask for readiness, so the parts are checked at most once a second.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from deployd.config.daemon import Config
from deployd.errors import Unavailable
from deployd.ports.target import Target
from deployd.store.store import Store
from deployd.tasks import together

WARNING = "warning: "

_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 6.0  # longer than a write waits for a lock, so that the answer names the lock
_LOW_BYTES, _FULL_BYTES = 1024**3, 32 * 1024**2


class Readiness:
    """Checks the parts, and keeps the result for a second."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._parts: dict[str, str] = {}

    async def parts(self, config: Config, store: Store, targets: Mapping[str, Target]) -> Mapping[str, str]:
        """Part -> `ok`, `warning: ...`, or what is wrong with it."""
        async with self._lock:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                wanted = {app.target for app in config.app} or {"docker"}
                used = [target for name, target in targets.items() if name in wanted]
                answers = await together(
                    _within("store", _store(store)),
                    *(_within("engine", target.ping()) for target in used),
                    _within("disk", asyncio.to_thread(_disk, config.server.state_dir)),
                )
                self._parts = {part: said for answer in answers for part, said in answer.items()}
                self._asked_at = time.monotonic()
            return self._parts


def is_well(parts: Mapping[str, str]) -> bool:
    """Whether no part failed; a warning is not a failure."""
    return all(said == "ok" or said.startswith(WARNING) for said in parts.values())


async def _within(part: str, asked: Coroutine[Any, Any, Mapping[str, str]]) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await asked
    except TimeoutError:
        return {part: f"no answer within {_TIMEOUT_SECONDS:.0f} s"}


async def _store(store: Store) -> Mapping[str, str]:
    try:
        await store.ping()
    except Unavailable as exc:
        return {"store": exc.message}
    return {"store": "ok"}


def _disk(state_dir: Path) -> Mapping[str, str]:
    try:
        os.utime(
            state_dir
        )  # a real write: a broken disk may still accept an empty transaction and not report read-only
        free = shutil.disk_usage(state_dir).free
    except OSError as exc:
        return {"disk": f"{state_dir} cannot be used: {exc.strerror}"}
    if free < _FULL_BYTES:
        return {"disk": f"full: only {free // 1024**2} MiB free"}
    return {"disk": f"{WARNING}only {free // 1024**2} MiB free" if free < _LOW_BYTES else "ok"}
