"""The sign that the release answers its golden requests wrong: two failed replays in a row. Also tests the standby the same
way."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from deployd.domain import GateResult
from deployd.errors import DeploydError

Replay = Callable[[], Awaitable[GateResult | None]]
"""Asks a release its golden requests; None when it has none, or nothing of it runs."""

_EVERY_SECONDS = 1.0
# A replay of many rows is asked so rarely that it is at most this share of the time.
_SHARE = 0.1
_ENOUGH = 2


class Replays:
    """Replays the golden requests to the watched release."""

    name = "golden"

    def __init__(self, ask: Replay) -> None:
        self.every = _EVERY_SECONDS
        self._ask = ask
        self._asked = self._failed = self._running = 0
        self._last: GateResult | None = None

    async def measure(self) -> str:
        """See Sign."""
        began = time.monotonic()
        result = await self._ask()
        self.every = max(_EVERY_SECONDS, (time.monotonic() - began) / _SHARE)
        if result is None:
            return ""
        self._asked += 1
        if result.verdict != "failed":
            self._running = 0
            return ""
        self._last = result
        self._failed += 1
        self._running += 1
        return self._said if self._running >= _ENOUGH else ""

    def result(self) -> GateResult:
        """See Sign."""
        figures = {"replays": self._asked, "failed": self._failed}
        if not self._asked:
            return GateResult(self.name, "not_judged", "it was not asked", figures, moment="after")
        if self._running >= _ENOUGH and self._last is not None:
            return GateResult(self.name, "failed", self._said, figures, self._last.rows, moment="after")
        if self._failed and self._last is not None:
            detail = f"{self._failed} of {self._asked} replays failed, but never two in a row: {self._last.detail}"
            return GateResult(self.name, "warned", detail, figures, self._last.rows, moment="after")
        return GateResult(
            self.name, "passed", f"{self._asked} of {self._asked} replays passed", figures, moment="after"
        )

    @property
    def _said(self) -> str:
        detail = self._last.detail if self._last is not None else ""
        return f"its golden answers were wrong {self._running} times in a row: {detail}"


class Standby:
    """The release that stands by. It is asked in the background, so that it is known good at the moment of a verdict."""

    def __init__(self, ask: Callable[[], Awaitable[str | None]], ended: Callable[[], Awaitable[str]]) -> None:
        """`ask`: why it could not serve; empty when it could, None when it does not run, by design of its target. `ended`: how it
        has just ended, if it has; a quick question."""
        self._ask = ask
        self._ended = ended
        self._known = asyncio.Event()
        self._trouble: str | None = None

    async def follow(self) -> None:
        """Ask the standby again and again, until cancelled."""
        while True:
            began = time.monotonic()
            try:
                self._trouble = await self._ask()
            except DeploydError as exc:
                self._trouble = exc.message
            self._known.set()
            await asyncio.sleep(max(_EVERY_SECONDS, (time.monotonic() - began) / _SHARE))

    async def trouble(self) -> str:
        """Why it cannot take the traffic back, as it was asked last. Whether it has ended is asked now: where the engine was
        started anew, all containers have, and none for a fault of its own."""
        await self._known.wait()
        if self._trouble:
            return self._trouble
        try:
            return await self._ended()
        except DeploydError as exc:
            return exc.message

    @property
    def runs(self) -> bool:
        """Whether the standby runs beside the watched release."""
        return self._trouble is not None
