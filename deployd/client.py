"""The HTTP API as typed calls: for the command line, the demo, tests, and whoever scripts deployd in Python.

Knows the API's answers and nothing of what is behind them. A refusal is a RequestRefused with the daemon's own words; a daemon
that cannot be reached is Unavailable. What follows something over time survives a restart of the daemon.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from deployd.api.answers import (
    Answer,
    AppAnswer,
    AppsAnswer,
    DeliveriesAnswer,
    DeliveryAnswer,
    DeployAnswer,
    DeploysAnswer,
    DescribeAnswer,
    DiffAnswer,
    PlanAnswer,
    ReloadAnswer,
)
from deployd.errors import RequestRefused, Unavailable
from deployd.following import Patience, events_of

A = TypeVar("A", bound=Answer)

DEFAULT_URL = "http://127.0.0.1:8081"

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT_SECONDS = 60.0
_SILENCE_SECONDS = 45.0  # three heartbeats
_AGAIN_SECONDS = 0.5


class DaemonAway(Unavailable):
    """The daemon itself cannot be reached."""


class Client:
    """Speaks to the daemon at `url`; use as an async context manager.

    `patience`: seconds that a follower waits for a daemon that has gone away to come back; `away` is told when that begins.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        patience: float = 60.0,
        away: Callable[[Unavailable], object] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        self._away = away
        headers = {b"Authorization": f"Bearer {token.strip()}".encode()} if token else {}
        with self._reaching():
            self._http = httpx.AsyncClient(
                base_url=self.url,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                trust_env=httpx.URL(self.url).host not in _THIS_MACHINE,  # proxies are for other machines
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def apps(self) -> list[AppAnswer]:
        """Every app."""
        return (await self._get(AppsAnswer, "/api/v1/apps")).apps

    async def app(self, app: str) -> AppAnswer:
        """One app."""
        return await self._get(AppAnswer, _path(app))

    async def history(self, app: str, limit: int = 50, before: int | None = None) -> DeploysAnswer:
        """The app's deploys, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._get(DeploysAnswer, _path(app, "deploys"), asked)

    async def show(self, app: str, number: int) -> DeployAnswer:
        """One deploy with its steps."""
        return await self._get(DeployAnswer, _path(app, "deploys", number))

    async def deploy(self, app: str, commit: str | None = None) -> DeployAnswer:
        """Ask for a deploy of a SHA, branch or tag; None means the head of what the app watches."""
        return await self._post(DeployAnswer, _path(app, "deploys"), {"commit": commit})

    async def rollback(self, app: str, to: int | None = None) -> DeployAnswer:
        """Ask to go back to release `to`, or to the one before."""
        return await self._post(DeployAnswer, _path(app, "rollback"), {"to": to})

    async def cancel(self, app: str, number: int) -> DeployAnswer:
        """Stop a deploy."""
        return await self._post(DeployAnswer, _path(app, "deploys", number, "cancel"))

    async def pause(self, app: str) -> AppAnswer:
        """Let the app's deploys wait."""
        return await self._post(AppAnswer, _path(app, "pause"))

    async def resume(self, app: str) -> AppAnswer:
        """Take them up again."""
        return await self._post(AppAnswer, _path(app, "resume"))

    async def scale(self, app: str, replicas: int) -> AppAnswer:
        """Let so many copies run."""
        return await self._post(AppAnswer, _path(app, "scale"), {"replicas": replicas})

    async def describe(self, app: str) -> DescribeAnswer:
        """The app and what runs of it."""
        return await self._get(DescribeAnswer, _path(app, "describe"))

    async def plan(self, app: str, commit: str) -> PlanAnswer:
        """What deploying `commit` would do."""
        return await self._get(PlanAnswer, _path(app, "plan"), {"commit": commit})

    async def delivery(self, guid: str) -> DeliveryAnswer:
        """What came of a delivery, by its forge's GUID."""
        return await self._get(DeliveryAnswer, f"/api/v1/deliveries/{quote(guid, safe='')}")

    async def deliveries(self, limit: int = 50, before: int | None = None) -> DeliveriesAnswer:
        """The accepted deliveries, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._get(DeliveriesAnswer, "/api/v1/deliveries", asked)

    async def answered(self, guid: str) -> DeliveryAnswer:
        """What came of a delivery, once the looks that it owes have been taken."""
        patience = Patience(self._patience, self._away)
        while True:
            try:
                async for event in self.events():
                    patience.reset()
                    if event["kind"] in {"open", "reset", "look"}:
                        delivery = await self.delivery(guid)
                        if all(one.looked_at is not None for one in delivery.apps):
                            return delivery
            except Unavailable as exc:
                patience.spend(exc)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def diff(self, app: str, before: int, after: int) -> DiffAnswer:
        """What differs between two deploys."""
        return await self._get(DiffAnswer, _path(app, "diff"), {"before": before, "after": after})

    async def remove(self, app: str) -> None:
        """Remove an app that is no longer in the config from its target."""
        await self._ask("DELETE", _path(app))

    async def reload(self) -> ReloadAnswer:
        """Let the daemon read its config again; the names of its apps, and what takes a restart."""
        return await self._post(ReloadAnswer, "/api/v1/reload")

    async def ready(self) -> Mapping[str, str]:
        """Part -> `ok`, `warning: ...`, or what is wrong with it."""
        with self._reaching():
            parts: dict[str, str] = (await self._http.get("/readyz")).json()
        return parts

    async def backup(self, to: Path) -> int:
        """Write a copy of the daemon's state to `to`; its size in bytes. An existing file is replaced when all has come."""
        part = to.with_name(f"{to.name}.part")
        size = 0
        async with self._stream("GET", "/api/v1/backup") as response:
            with part.open("wb") as file:
                async for block in response.aiter_bytes():
                    size += file.write(block)
        part.replace(to)
        return size

    async def log(self, app: str, number: int, *, follow: bool = False, start: int = 0) -> AsyncIterator[bytes]:
        """A deploy's log from byte `start`; with `follow` to the deploy's end."""
        path, position = _path(app, "deploys", number, "log"), start
        patience = Patience(self._patience if follow else 0, self._away)
        while True:
            try:
                asked = {"from": position, "follow": int(follow)}
                # A build may print nothing for as long as it likes; unlike the events, its log has no heartbeat.
                async with self._stream("GET", path, asked, silence=None if follow else _SILENCE_SECONDS) as response:
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

    async def app_log(self, app: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[bytes]:
        """What the running release prints."""
        asked = {"follow": int(follow)} | ({"tail": tail} if tail is not None else {})
        async with self._stream("GET", _path(app, "log"), asked) as response:
            async for block in response.aiter_bytes():
                yield block

    async def execute(self, app: str, command: Sequence[str]) -> AsyncIterator[str | int]:
        """Run a command beside the live release: its output as it comes, at last its exit code."""
        async with self._stream("POST", _path(app, "exec"), body={"command": list(command)}) as response:
            async for line in response.aiter_lines():
                said = json.loads(line)
                yield said["output"] if "output" in said else int(said["exit_code"])

    async def follow(self, app: str, number: int) -> AsyncIterator[DeployAnswer]:
        """The deploy as it is now, and again whenever something of it changes, until it ended."""
        patience = Patience(self._patience, self._away)
        while True:
            try:
                async for event in self.events(app):
                    patience.reset()
                    if event.get("number") in {None, number}:
                        deploy = await self.show(app, number)
                        yield deploy
                        if deploy.status.ended:
                            return
            except Unavailable as exc:
                patience.spend(exc)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def events(self, app: str | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """What happens, as it happens: `kind`, `app`, `number` and more. First `{"kind": "open"}`, when nothing is missed any
        more; ends when the daemon does."""
        asked = {"app": app} if app is not None else {}
        async with self._stream("GET", "/api/v1/events", asked, silence=_SILENCE_SECONDS) as response:
            async for event in events_of(response):
                yield event

    async def _get(self, model: type[A], path: str, asked: Mapping[str, Any] | None = None) -> A:
        return model.model_validate((await self._ask("GET", path, asked)).json())

    async def _post(self, model: type[A], path: str, body: Mapping[str, Any] | None = None) -> A:
        return model.model_validate((await self._ask("POST", path, body=body or {})).json())

    async def _ask(
        self, method: str, path: str, asked: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        with self._reaching():
            response = await self._http.request(method, path, params=asked, json=body)
        _check(response)
        return response

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        path: str,
        asked: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=silence)
        with self._reaching():
            async with self._http.stream(method, path, params=asked, json=body, timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                _check(response)
                yield response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """The one door for httpx's errors."""
        try:
            yield
        except httpx.TimeoutException as exc:
            raise DaemonAway(
                f"deployd at {self.url} did not answer in time", hint="systemctl status deployd.service shows how it is"
            ) from exc
        except httpx.TransportError as exc:
            raise DaemonAway(
                f"deployd at {self.url} does not answer: {str(exc) or type(exc).__name__}",
                hint="start it, or set DEPLOYD_URL to its address",
            ) from exc
        except httpx.InvalidURL as exc:
            raise DaemonAway(
                f"{self.url} is not a URL: {exc}", hint=f"set DEPLOYD_URL, for example to {DEFAULT_URL}"
            ) from exc


def _path(app: str, *more: str | int) -> str:
    return "/".join(["/api/v1/apps", quote(app, safe=""), *map(str, more)])


def _check(response: httpx.Response) -> None:
    if not response.is_error:
        return
    try:
        said = response.json()
        detail, hint = str(said["detail"]), str(said.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answered {response.status_code} {response.reason_phrase}"
        hint = "that may not be deployd: DEPLOYD_URL names its address"
    raise RequestRefused(response.status_code, detail, hint=hint)
