"""The streaming endpoints: deploy logs, the output of a release, commands and events.

A stream ends when its source ends, the client disconnects or the daemon stops. The number of open streams is bounded.
"""

import asyncio
import codecs
import json
import secrets
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Query
from pydantic import AwareDatetime
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployd.api.asked import ExecAsked, TypedAsked
from deployd.api.auth import READS, RULES
from deployd.api.paths import DeployName, Number
from deployd.api.services import Given, Services
from deployd.domain import Event
from deployd.errors import DeploydError, RequestRefused
from deployd.tasks import beside, first
from deployd.terminal import Size, Terminal

Write = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Write], Awaitable[None]]

_HEARTBEAT_SECONDS = 15.0
_RETRY_MS = 1000
_TEXT = "text/plain; charset=utf-8"
_LOG_HEADERS = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/api/v1")


class Stream(Response):
    """A body that `produce` writes. The status is sent with the first bytes, so an earlier error gets its own answer."""

    def __init__(self, services: Services, produce: Produce, media_type: str) -> None:
        super().__init__(media_type=media_type, headers=_LOG_HEADERS)
        del self.headers["content-length"]
        self._services = services
        self._produce = produce
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        async with self._services.streams.counted():
            await first(self._write_all(send), _gone(receive), self._stopping())
        await self._write(send, b"", more=False)

    async def _write_all(self, send: Send) -> None:
        try:
            await self._produce(lambda data: self._write(send, data))
        except DeploydError as exc:
            if not self._begun:
                raise
            await self._write(send, f"\n-- incomplete: {exc} --\n".encode())

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if data or not more:
            await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _stopping(self) -> None:
        await self._services.stopping.wait()


@router.get("/apps/{app}/deploys/{number}/log", response_class=Response, dependencies=[READS])
async def deploy_log(
    app: str,
    number: Number,
    services: Given,
    follow: bool = False,
    start: Annotated[int, Query(alias="from", ge=0, le=2**62)] = 0,
) -> Response:
    """The log of a deploy from byte `from`; with `follow`, until the deploy ends."""
    await _must_exist(services, app, number)

    async def produce(write: Write) -> None:
        if not follow:
            await _copy(services.logs.read(app, number, start), write)
            return
        async with beside(_release_followers(services, app, number)):
            await _follow(services, app, number, start, write)

    return Stream(services, produce, _TEXT)


@router.get("/apps/{app}/log", response_class=Response, dependencies=[READS])
async def app_log(
    app: str,
    services: Given,
    follow: bool = False,
    tail: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    since: AwareDatetime | None = None,
) -> Response:
    """The output of the live release: the last `tail` lines of those `since` then; with `follow`, also what it prints from now
    on."""
    configured, target = services.scheduler.target_of(app)
    return Stream(
        services, lambda write: _copy(target.output(configured, follow=follow, tail=tail, since=since), write), _TEXT
    )


@router.post("/apps/{app}/exec", response_class=Response, dependencies=[RULES])
async def execute(app: str, asked: ExecAsked, services: Given) -> Response:
    """Run a command in the live release. Answers JSON lines: `{"output": text}` while it runs, then `{"exit_code": n}`.

    At a terminal the first line is `{"terminal": name}`: POST /api/v1/terminals/NAME types there.
    """
    configured, target = services.scheduler.target_of(app)

    async def produce(write: Write) -> None:
        with _terminal(services, asked) as (name, terminal):
            if terminal is not None:
                await write(_line({"terminal": name}))
            await run(write, terminal)

    async def run(write: Write, terminal: Terminal | None) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        async def out(data: bytes) -> None:
            if text := decoder.decode(data):
                await write(_line({"output": text}))

        code = await target.execute(configured, asked.command, out, terminal)
        if rest := decoder.decode(b"", final=True):
            await write(_line({"output": rest}))
        await write(_line({"exit_code": code}))

    return Stream(services, produce, "application/x-ndjson")


@router.post("/terminals/{name}", status_code=204, dependencies=[RULES])
async def type_there(name: str, asked: TypedAsked, services: Given) -> None:
    """Type at the terminal of a command that runs, or change its size."""
    if (terminal := services.terminals.get(name)) is None:
        raise RequestRefused(404, "there is no such terminal", hint="its command has ended")
    if asked.size is not None:
        terminal.put(Size(asked.size.rows, asked.size.columns))
    if asked.typed:
        terminal.put(b64decode(asked.typed))


@contextmanager
def _terminal(services: Services, asked: ExecAsked) -> Iterator[tuple[str, Terminal | None]]:
    """The terminal that is asked for, with a name that cannot be guessed, for as long as the command runs."""
    if asked.terminal is None:
        yield "", None
        return
    name = secrets.token_urlsafe(16)
    terminal = services.terminals[name] = Terminal(Size(asked.terminal.rows, asked.terminal.columns))
    try:
        yield name, terminal
    finally:
        del services.terminals[name]


@router.get("/events", response_class=Response, dependencies=[READS])
async def events(
    services: Given,
    app: str | None = None,
    log: DeployName | None = None,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> Response:
    """Server-sent events of one app or all. `Last-Event-ID` resumes; the event `reset` says that some events were missed.

    With `log=iris/42`, the log of that deploy is sent too, as events `log` that hold its text.
    """
    if log is not None:
        watched, _, number = log.partition("/")
        await _must_exist(services, watched, int(number))
    known = last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal()
    after = int(last_event_id or 0) if known else services.events.latest

    async def produce(write: Write) -> None:
        await write(f"retry: {_RETRY_MS}\n\n".encode())
        async with beside(_beat(write), _tell_log(services, log, write)):
            async for event in services.events.watch(after):
                if app is None or event.app in {app, ""}:
                    await write(_sse(event))

    return Stream(services, produce, "text/event-stream")


async def _must_exist(services: Services, app: str, number: int) -> None:
    if await services.store.deploy(app, number) is None:
        raise RequestRefused(404, f"there is no deploy {app}/{number}", hint=f"deployd history {app} shows them")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _copy(blocks: AsyncIterator[bytes], write: Write) -> None:
    async for block in blocks:
        await write(block)


async def _follow(services: Services, app: str, number: int, start: int, write: Write) -> None:
    """The log until the deploy ends. A deploy that waits for something unavailable closes its log and opens it again."""
    position = start
    deploy = await services.store.deploy(app, number)
    while True:
        expected = deploy is not None and not deploy.status.ended
        async for block in services.logs.follow(app, number, position, expected=expected):
            position += len(block)
            await write(block)
        deploy = await services.store.deploy(app, number)
        if not expected or deploy is None or deploy.status.ended:
            return


async def _release_followers(services: Services, app: str, number: int) -> None:
    """End the streams that follow a deploy's log when the deploy ends without having written one."""
    after = services.events.latest
    deploy = await services.store.deploy(app, number)
    watched = services.events.watch(after)
    while deploy is not None and not deploy.status.ended:
        event = await anext(watched)
        if event.kind == "reset" or (event.kind == "deploy.status" and (event.app, event.number) == (app, number)):
            deploy = await services.store.deploy(app, number)
    services.logs.give_up(app, number)


async def _tell_log(services: Services, log: str | None, write: Write) -> None:
    if log is None:
        return
    app, _, number = log.partition("/")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def tell(block: bytes) -> None:
        text = json.dumps({"app": app, "number": int(number), "text": decoder.decode(block)})
        await write(f"event: log\ndata: {text}\n\n".encode())

    async with beside(_release_followers(services, app, int(number))):
        await _follow(services, app, int(number), 0, tell)


async def _beat(write: Write) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await write(b": heartbeat\n\n")


def _sse(event: Event) -> bytes:
    data = {"app": event.app, "number": event.number, "at": event.at.isoformat().replace("+00:00", "Z"), **event.data}
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n".encode()


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"
