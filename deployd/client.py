"""The HTTP API as typed calls: for the command line, the demo, tests, and whoever scripts deployd in Python.

Knows the API's answers and nothing of what is behind them. A refusal is a RequestRefused with the daemon's own words; a daemon
that cannot be reached is Unavailable. What follows something over time survives a restart of the daemon.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

from deployd.address import default_url
from deployd.api.answers import (
    DeliveriesAnswer,
    DeliveryAnswer,
    DeployAnswer,
    DeploysAnswer,
    DiffAnswer,
    NotifyTestAnswer,
    PruneAnswer,
    ReloadAnswer,
    VersionAnswer,
)
from deployd.api.states import AppAnswer, AppsAnswer, DescribeAnswer, PlanAnswer, TrafficAnswer
from deployd.asking import Asking
from deployd.errors import RequestRefused, Unavailable
from deployd.following import Patience, events_of
from deployd.logs.sgr import without_colours
from deployd.terminal import Size

_TEXT, _LINES, _EVENTS = "text/plain", "application/x-ndjson", "text/event-stream"
_MARKDOWN = "text/markdown"
_SILENCE_SECONDS = 45.0  # three heartbeats
_AGAIN_SECONDS = 0.5
_OF_ONE_APP = frozenset({"deploy.status", "step", "gate", "look", "trouble", "health"})

T = TypeVar("T")
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TerminalName:
    """The name of the terminal at which a command runs."""

    name: str


class Client:
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
        self._asking = Asking(default_url() if url is None else url, token)
        self._patience = patience
        self._away = away

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._asking.close()

    async def apps(self) -> list[AppAnswer]:
        """Every app."""
        return (await self._asking.get(AppsAnswer, "/api/v1/apps")).apps

    async def app(self, app: str) -> AppAnswer:
        """One app."""
        return await self._asking.get(AppAnswer, _path(app))

    async def traffic(self, app: str, last: str = "1h") -> TrafficAnswer:
        """The traffic that the gateway counted for an app."""
        return await self._asking.get(TrafficAnswer, _path(app, "traffic"), {"last": last})

    async def history(self, app: str, limit: int = 50, before: int | None = None) -> DeploysAnswer:
        """The app's deploys, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._asking.get(DeploysAnswer, _path(app, "deploys"), asked)

    async def show(self, app: str, number: int) -> DeployAnswer:
        """One deploy with its steps."""
        return await self._asking.get(DeployAnswer, _path(app, "deploys", number))

    async def report(self, app: str, number: int) -> str:
        """The whole record of a deploy, as one page in Markdown."""
        async with self._asking.stream("GET", _path(app, "deploys", number, "report"), _MARKDOWN) as response:
            return b"".join([block async for block in response.aiter_bytes()]).decode()

    async def deploy(
        self, app: str, commit: str | None = None, *, rebuild: bool = False, accept_changes: bool = False
    ) -> DeployAnswer:
        """Ask for a deploy of a SHA, branch or tag; None means the head of what the app watches. `rebuild`: build it anew;
        `accept_changes`: other predictions are expected."""
        asked = {"commit": commit, "rebuild": rebuild} | ({"accept_changes": True} if accept_changes else {})
        return await self._asking.post(DeployAnswer, _path(app, "deploys"), asked)

    async def prove(self, app: str, commit: str | None = None, *, rebuild: bool = False) -> DeployAnswer:
        """Ask that all gates are asked of a SHA, branch or tag, and that it is never switched to."""
        body = {"commit": commit, "rebuild": rebuild, "prove": True}
        return await self._asking.post(DeployAnswer, _path(app, "deploys"), body)

    async def rollback(self, app: str, to: int | None = None) -> DeployAnswer:
        """Ask to go back to release `to`, or to the one before."""
        return await self._asking.post(DeployAnswer, _path(app, "rollback"), {"to": to})

    async def restart(self, app: str) -> DeployAnswer:
        """Ask to roll the present config out with the image of the live release."""
        return await self._asking.post(DeployAnswer, _path(app, "restart"))

    async def cancel(self, app: str, number: int) -> DeployAnswer:
        """Stop a deploy."""
        return await self._asking.post(DeployAnswer, _path(app, "deploys", number, "cancel"))

    async def pause(self, app: str) -> AppAnswer:
        """Let the app's deploys wait."""
        return await self._asking.post(AppAnswer, _path(app, "pause"))

    async def resume(self, app: str) -> AppAnswer:
        """Take them up again."""
        return await self._asking.post(AppAnswer, _path(app, "resume"))

    async def scale(self, app: str, replicas: int) -> AppAnswer:
        """Let so many copies run."""
        return await self._asking.post(AppAnswer, _path(app, "scale"), {"replicas": replicas})

    async def describe(self, app: str) -> DescribeAnswer:
        """The app with its containers or pods."""
        return await self._asking.get(DescribeAnswer, _path(app, "describe"))

    async def plan(self, app: str, commit: str | None = None) -> PlanAnswer:
        """What deploying `commit` would do; None means the head of what the app follows."""
        return await self._asking.get(PlanAnswer, _path(app, "plan"), {"commit": commit} if commit else {})

    async def version(self) -> VersionAnswer:
        """The version of the daemon."""
        return await self._asking.get(VersionAnswer, "/")

    async def delivery(self, guid: str) -> DeliveryAnswer:
        """The outcome of a delivery, by its forge's GUID."""
        return await self._asking.get(DeliveryAnswer, f"/api/v1/deliveries/{quote(guid, safe='')}")

    async def deliveries(self, limit: int = 50, before: int | None = None) -> DeliveriesAnswer:
        """The accepted deliveries, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._asking.get(DeliveriesAnswer, "/api/v1/deliveries", asked)

    async def answered(self, guid: str) -> DeliveryAnswer:
        """The outcome of a delivery, after waiting for the looks that it asked for."""

        async def ask(event: Event) -> DeliveryAnswer | None:
            return await self.delivery(guid) if event["kind"] in {"open", "reset", "look"} else None

        async with aclosing(self._again(ask)) as deliveries:
            async for delivery in deliveries:
                if all(one.looked_at is not None for one in delivery.apps):
                    return delivery
        raise AssertionError  # it goes on until then

    async def diff(self, app: str, before: int, after: int) -> DiffAnswer:
        """What differs between two deploys."""
        return await self._asking.get(DiffAnswer, _path(app, "diff"), {"before": before, "after": after})

    async def remove(self, app: str) -> None:
        """Remove an app that is no longer in the config from its target."""
        await self._asking.ask("DELETE", _path(app))

    async def prune(self, app: str | None = None, *, dry_run: bool = False) -> PruneAnswer:
        """Remove what is beyond the retention, or say what would go."""
        return await self._asking.post(PruneAnswer, "/api/v1/prune", {"app": app, "dry_run": dry_run})

    async def notify_test(self) -> NotifyTestAnswer:
        """Let the daemon send a message to every URL of its [notify]; what became of each."""
        return await self._asking.post(NotifyTestAnswer, "/api/v1/notify/test")

    async def reload(self) -> ReloadAnswer:
        """Let the daemon read its config again; the names of its apps, and what takes a restart."""
        return await self._asking.post(ReloadAnswer, "/api/v1/reload")

    async def ready(self) -> Mapping[str, str]:
        """Part -> `ok`, `warning: ...`, or what is wrong with it."""
        return await self._asking.parts()

    async def backup(self, to: Path) -> int:
        """Write a copy of the daemon's state to `to`; its size in bytes. An existing file is replaced when all has come."""
        part = to.with_name(f"{to.name}.part")
        size = 0
        async with self._asking.stream("GET", "/api/v1/backup", "application/vnd.sqlite3") as response:
            with _opened(part, to) as file:
                async for block in response.aiter_bytes():
                    size += file.write(block)
        part.replace(to)
        return size

    def log(
        self, app: str, number: int, *, follow: bool = False, start: int = 0, colours: bool = False
    ) -> AsyncGenerator[bytes]:
        """A deploy's log from byte `start`; with `follow` to the deploy's end. Its bytes count with their colours."""
        blocks = self._log(app, number, follow=follow, start=start)
        return blocks if colours else without_colours(blocks)

    async def _log(self, app: str, number: int, *, follow: bool, start: int) -> AsyncGenerator[bytes]:
        path, position = _path(app, "deploys", number, "log"), start
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
        async with self._asking.stream("GET", _path(app, "log"), _TEXT, asked) as response:
            async for block in response.aiter_bytes():
                yield block

    async def execute(
        self, app: str, command: Sequence[str], size: Size | None = None
    ) -> AsyncGenerator[str | int | TerminalName]:
        """Run a command in the live release: its output as it comes, at last its exit code. With `size` it runs at a terminal of
        that size, whose name comes first."""
        body = {"command": list(command)} | ({"terminal": asdict(size)} if size is not None else {})
        async with self._asking.stream("POST", _path(app, "exec"), _LINES, body=body) as response:
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


def _opened(part: Path, to: Path) -> BinaryIO:
    """The file `part`, which becomes `to` when it is complete; an error names the latter."""
    try:
        return part.open("wb")
    except OSError as exc:
        exc.filename = str(to)
        raise


def _path(app: str, *more: str | int) -> str:
    return "/".join(["/api/v1/apps", quote(app, safe=""), *map(str, more)])
