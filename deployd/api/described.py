"""What runs of each app, as its target says it: asked at most once in a few seconds, however many browsers look."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from deployd.config.app import App
from deployd.errors import DeploydError, Unavailable
from deployd.ports.target import Target

_FRESH_SECONDS = 3.0
_TIMEOUT_SECONDS = 3.0

Answered = Mapping[str, Any] | DeploydError


class Described:
    """Keeps the last answer for each app."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, asyncio.Task[Answered]]] = {}

    async def of(self, app: App, target: Target) -> Answered:
        """What runs, or why nobody can say so."""
        asked_at, task = self._answers.get(app.name, (float("-inf"), None))
        if task is None or time.monotonic() - asked_at > _FRESH_SECONDS:
            task = asyncio.create_task(_ask(app, target))
            self._answers[app.name] = time.monotonic(), task
        return await asyncio.shield(task)


async def _ask(app: App, target: Target) -> Answered:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await target.describe(app)
    except DeploydError as exc:
        return exc
    except TimeoutError:
        return Unavailable(f"no answer within {_TIMEOUT_SECONDS:.0f} s")
