"""Events of one app or all as server-sent events, with the log of a deploy and the output of a release on request.

One stream carries all of it, since a browser opens only six connections to a host. The `id` of an event says how far a reader
has come, also in the log, so that a connection that is opened again goes on where the former one ended.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from deployd.api.auth import READS
from deployd.api.logs import must_exist
from deployd.api.output import tell_output
from deployd.api.paths import AppName, DeployName
from deployd.api.services import Given, Services
from deployd.api.streams import Stream, Write
from deployd.domain import Event
from deployd.http.problems import PROBLEMS
from deployd.logs.times import Time
from deployd.tasks import beside

_HEARTBEAT_SECONDS = 15.0
_RETRY_MS = 1000
_ID = re.compile(r"([0-9]{1,20})(?::([0-9]{1,18}))?")

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@dataclass(slots=True)
class _Reader:
    """How far a reader has come: its last event, and the byte of the log that comes next, if it reads one.

    Each position is set only after its data was written: a repeated event does no harm, a skipped one would be missed.
    """

    event: int
    log: str | None
    byte: int

    def id(self, *, event: int | None = None, byte: int | None = None) -> str:
        number = self.event if event is None else event
        return str(number) if self.log is None else f"{number}:{self.byte if byte is None else byte}"


@router.get("/events", response_class=Response, dependencies=[READS])
async def events(
    services: Given,
    app: str | None = None,
    log: DeployName | None = None,
    start: Annotated[int, Query(alias="from", ge=0, le=2**62)] = 0,
    output: AppName | None = None,
    last_event_id: Annotated[str | None, Header(max_length=48)] = None,
) -> Response:
    """Server-sent events of one app or all. `Last-Event-ID` resumes; the event `reset` says that some events were missed.

    With `log=iris/42`, the log of that deploy is sent too, from byte `from` on and for as long as the stream is open, as events
    `log` that hold its text, the bytes `from` and `to` that it is of, and the `times` of its lines. With `output=iris`, so is
    what the live release prints, as events `output`: one with `begin` replaces what was sent before.
    """
    if log is not None:
        watched, _, number = log.partition("/")
        await must_exist(services, watched, int(number))
    if output is not None:
        services.scheduler.target_of(output)
    known = _ID.fullmatch(last_event_id or "")
    reader = _Reader(
        event=int(known[1]) if known else services.events.latest,
        log=log,
        byte=int(known[2]) if known and known[2] else start,
    )

    async def produce(write: Write) -> None:
        await write(f"retry: {_RETRY_MS}\n\n".encode())
        more = [_beat(write)]
        if log is not None:
            more.append(_tell_log(services, log, reader, write))
        if output is not None:
            more.append(tell_output(services, output, write))
        async with beside(*more):
            async for event in services.events.watch(reader.event):
                if app is None or event.app in {app, ""}:
                    await write(_sse(event, reader.id(event=event.id)))
                reader.event = event.id

    return Stream(services, produce, "text/event-stream")


async def _tell_log(services: Services, name: str, reader: _Reader, write: Write) -> None:
    """Send the log, with the lines about draining and pruning that come after the deploy's end."""
    app, _, number = name.partition("/")
    cut = b""  # the beginning of a character
    while True:
        async for block in services.logs.follow(app, int(number), reader.byte + len(cut), expected=True):
            whole = cut + block
            cut = whole[len(whole) - _unfinished(whole) :]
            whole = whole[: len(whole) - len(cut)]
            end = reader.byte + len(whole)
            times = services.logs.times(app, int(number), reader.byte, end)
            text = _log_text(app, int(number), reader.byte, whole, tuple(times))
            await write(f"id: {reader.id(byte=end)}\n".encode() + text)
            reader.byte = end


@lru_cache(maxsize=64)
def _log_text(app: str, number: int, start: int, block: bytes, times: tuple[Time, ...]) -> bytes:
    """An event `log`; many may follow one log at the same place."""
    told = {
        "app": app,
        "number": number,
        "from": start,
        "to": start + len(block),
        "times": [(offset, round(at, 3)) for offset, at in times],
        "text": block.decode("utf-8", "replace"),
    }
    return f"event: log\ndata: {json.dumps(told)}\n\n".encode()


def _unfinished(data: bytes) -> int:
    """The number of bytes at the end that are an incomplete character."""
    for length in range(1, min(4, len(data) + 1)):
        byte = data[-length]
        if byte >= 0xC0:
            return length if length < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0


async def _beat(write: Write) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await write(b": heartbeat\n\n")


def _sse(event: Event, name: str) -> bytes:
    data = {"app": event.app, "number": event.number, "at": event.at.isoformat().replace("+00:00", "Z"), **event.data}
    return f"id: {name}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n".encode()
