"""Whether the parts that deploys need are there: the state, its disk, and what the apps run on.

Anybody may ask, so the parts themselves are asked at most once a second, however often somebody does.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from deployd.config.daemon import Config
from deployd.errors import Unavailable
from deployd.ports import Target
from deployd.store.store import Store

WARNING = "warning: "

_FRESH_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0
_LOW_BYTES, _FULL_BYTES = 1024**3, 32 * 1024**2


class Readiness:
    """Remembers the last answer for a moment."""

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
                answers = await asyncio.gather(_store(store), *(_ping(target) for target in used))
                self._parts = {part: said for answer in answers for part, said in answer.items()}
                self._parts["disk"] = _disk(config.server.state_dir)
                self._asked_at = time.monotonic()
            return self._parts


def is_well(parts: Mapping[str, str]) -> bool:
    """Nothing is away; a warning is not yet."""
    return all(said == "ok" or said.startswith(WARNING) for said in parts.values())


async def _store(store: Store) -> dict[str, str]:
    try:
        await store.known_apps()
    except Unavailable as exc:
        return {"store": exc.message}
    return {"store": "ok"}


async def _ping(target: Target) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await target.ping()
    except TimeoutError:
        return {"engine": f"no answer within {_PATIENCE_SECONDS:.0f} s"}


def _disk(state_dir: Path) -> str:
    try:
        free = shutil.disk_usage(state_dir).free
    except OSError as exc:
        return f"{state_dir} cannot be looked at: {exc.strerror}"
    if free < _FULL_BYTES:
        return f"full: {free // 1024**2} MiB are left"
    return f"{WARNING}{free // 1024**2} MiB are left" if free < _LOW_BYTES else "ok"
