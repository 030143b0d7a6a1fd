"""The client of deployd: for the command line, the demo, tests, and whoever scripts deployd in Python.

To the calls it adds what goes on for a while: logs, commands, and what follows something over time, which survives a restart of
the daemon. Knows the API's answers and nothing of what is behind them.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from deployd.api.answers import DeliveryAnswer, DeployAnswer
from deployd.api.states import AppAnswer
from deployd.calls import Calls, path_of
from deployd.errors import RequestRefused, Unavailable
from deployd.following import Patience, events_of
from deployd.logs.sgr import without_colours
from deployd.terminal import Size

_TEXT, _LINES, _EVENTS = "text/plain", "application/x-ndjson", "text/event-stream"
_SILENCE_SECONDS = 45.0  # three heartbeats
_AGAIN_SECONDS = 0.5
_OF_ONE_APP = frozenset({"deploy.status", "step", "gate", "look", "trouble", "health"})

T = TypeVar("T")
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TerminalName:
    """The name of the terminal at which a command runs."""

    name: str


class Client(Calls):
    """Speaks to the daemon at `url` (`unix://PATH`, http or https); use as an async context manager.

    `patience`: seconds that a follower waits for a daemon that has gone away to come back; `away` is told when that begins.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience: float = 60.0,
        away: Callable[[Unavailable], object] | None = None,
    ) -> None:
        super().__init__(url, token)
        self._patience = patience
        self._away = away

    async def answered(self, guid: str) -> DeliveryAnswer:
        """The outcome of a delivery, after waiting for the looks that it asked for."""

        async def ask(event: Event) -> DeliveryAnswer | None:
            return await self.delivery(guid) if event["kind"] in {"open", "reset", "look"} else None

        async with aclosing(self._again(ask)) as deliveries:
            async for delivery in deliveries:
                if all(one.looked_at is not None for one in delivery.apps):
                    return delivery
        raise AssertionError  # it goes on until then

    def log(
        self, app: str, number: int, *, follow: bool = False, start: int = 0, colours: bool = False
    ) -> AsyncGenerator[bytes]:
        """A deploy's log from byte `start`; with `follow` to the deploy's end. Its bytes count with their colours."""
        blocks = self._log(app, number, follow=follow, start=start)
        return blocks if colours else without_colours(blocks)

    async def _log(self, app: str, number: int, *, follow: bool, start: int) -> AsyncGenerator[bytes]:
        path, position = path_of(app, "deploys", number, "log"), start
        patience = Patience(self._patience if follow else 0, self._away)
        while True:
            try:
                asked = {"from": position, "follow": int(follow), "colours": 1}
                # A build may print nothing for as long as it likes; unlike the events, its log has no heartbeat.
                async with self._asking.stream(
                    "GET", path, _TEXT, asked, silence=None if follow else _SILENCE_SECONDS
                ) as response:
                    async for block in response.aiter_bytes():
                        position += len(block)
                        yield block
                if not follow or (await self.show(app, number)).status.ended:
                    return
            except Unavailable as exc:
                patience.spend(exc)
            else:
                patience.reset()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def app_log(
        self, app: str, *, follow: bool = False, tail: int | None = None, since: datetime | None = None
    ) -> AsyncGenerator[bytes]:
        """The output of the live release."""
        asked: dict[str, int | str] = {"follow": int(follow)}
        if tail is not None:
            asked["tail"] = tail
        if since is not None:
            asked["since"] = since.isoformat()
        async with self._asking.stream("GET", path_of(app, "log"), _TEXT, asked) as response:
            async for block in response.aiter_bytes():
                yield block

    async def execute(
        self, app: str, command: Sequence[str], size: Size | None = None
    ) -> AsyncGenerator[str | int | TerminalName]:
        """Run a command in the live release: its output as it comes, at last its exit code. With `size` it runs at a terminal of
        that size, whose name comes first."""
        body = {"command": list(command)} | ({"terminal": asdict(size)} if size is not None else {})
        async with self._asking.stream("POST", path_of(app, "exec"), _LINES, body=body) as response:
            async for line in response.aiter_lines():
                said = json.loads(line)
                if "terminal" in said:
                    yield TerminalName(said["terminal"])
                else:
                    yield said["output"] if "output" in said else int(said["exit_code"])

    async def type(self, terminal: TerminalName, what: bytes | Size) -> None:
        """Type at the terminal of a command, or change its size."""
        typed = {"size": asdict(what)} if isinstance(what, Size) else {"typed": b64encode(what).decode()}
        await self._asking.ask("POST", f"/api/v1/terminals/{terminal.name}", body=typed)

    async def follow(self, app: str, number: int) -> AsyncIterator[DeployAnswer]:
        """The deploy as it is now, and again whenever something of it changes, until it ended."""

        async def ask(event: Event) -> DeployAnswer | None:
            return await self.show(app, number) if event.get("number") in {None, number} else None

        async with aclosing(self._again(ask, app)) as deploys:
            async for deploy in deploys:
                yield deploy
                if deploy.status.ended:
                    return

    async def watch(self, app: str | None = None) -> AsyncGenerator[list[AppAnswer]]:
        """Every app, or one, as it is now, and again whenever something of it changes. Does not end by itself."""
        known: dict[str, AppAnswer] = {}

        async def ask(event: Event) -> list[AppAnswer]:
            name = event["app"] if event["kind"] in _OF_ONE_APP else ""
            try:
                asked = await self._named(app or (name if name in known else None))
            except RequestRefused:
                if app is not None:
                    raise
                name, asked = "", await self.apps()  # it has just been removed
            if name not in known:
                known.clear()
            known.update({one.name: one for one in asked})
            return list(known.values())

        async with aclosing(self._again(ask, app)) as answers:
            async for apps in answers:
                yield apps

    async def _named(self, app: str | None) -> list[AppAnswer]:
        return await self.apps() if app is None else [await self.app(app)]

    async def _again(self, ask: Callable[[Event], Awaitable[T | None]], app: str | None = None) -> AsyncGenerator[T]:
        """The answer of `ask` after each event of one app or all, across restarts of the daemon."""
        patience = Patience(self._patience, self._away)
        while True:
            try:
                async for event in self.events(app):
                    patience.reset()
                    if (answer := await ask(event)) is not None:
                        yield answer
            except Unavailable as exc:
                patience.spend(exc)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def events(self, app: str | None = None) -> AsyncIterator[Event]:
        """The events as they happen: `kind`, `app`, `number` and more. First `{"kind": "open"}`, when nothing is missed any more;
        ends when the daemon does."""
        asked = {"app": app} if app is not None else {}
        async with self._asking.stream("GET", "/api/v1/events", _EVENTS, asked, silence=_SILENCE_SECONDS) as response:
            async for event in events_of(response):
                yield event
