"""The output of an app's live release as server-sent events: its last lines, then new ones, of later releases too."""

import asyncio
import codecs
import json
from datetime import UTC, datetime

from deployd.api.services import Services
from deployd.api.streams import Write
from deployd.errors import DeploydError
from deployd.logs.redaction import Redactor, SafeStream
from deployd.tasks import beside, first

_LINES = 500
_PAUSE_S = 0.1
_AGAIN_S = 1.0
_MOST = 256 * 1024


class _Gathered:
    """Sends text at most ten times a second, and makes the writer wait for a slow reader."""

    def __init__(self, app: str, write: Write) -> None:
        self._app = app
        self._write = write
        self._text = ""
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    async def add(self, text: str) -> None:
        await self._room.wait()
        self._text += text
        self._more.set()
        if len(self._text) > _MOST:
            self._room.clear()

    async def begin(self) -> None:
        """Start again: the reader replaces the text sent so far."""
        await self._send({"begin": True, "text": ""})

    async def send_all(self) -> None:
        while True:
            await self._more.wait()
            await asyncio.sleep(_PAUSE_S)
            text, self._text = self._text, ""
            self._more.clear()
            self._room.set()
            await self._send({"text": text})

    async def _send(self, said: dict[str, object]) -> None:
        await self._write(f"event: output\ndata: {json.dumps({'app': self._app, **said})}\n\n".encode())


async def tell_output(services: Services, app: str, write: Write) -> None:
    """Send the output for as long as the reader stays. A stream that ends, as at a restart, is continued."""
    gathered = _Gathered(app, write)
    await gathered.begin()
    since: datetime | None = None
    said = ""
    async with beside(gathered.send_all()):
        while True:
            after = services.events.latest
            try:
                _, live = await first(_read(services, app, since, gathered), _next_live(services, app, after))
                said = ""
            except DeploydError as exc:
                live = None
                if said != str(exc):
                    said = str(exc)
                    await gathered.add(f"-- {said} --\n")
            if live is None:
                since = datetime.now(UTC)
                await asyncio.sleep(_AGAIN_S)
            else:
                since = None
                await gathered.add(f"-- {app}/{live} is live now; its output follows --\n")


async def _read(services: Services, app: str, since: datetime | None, gathered: _Gathered) -> None:
    configured, target = services.scheduler.target_of(app)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    safe = SafeStream(Redactor())  # only for its control sequences: what a release prints is its own affair
    blocks = target.output(configured, follow=True, tail=_LINES if since is None else None, since=since)
    async for block in blocks:
        if text := safe.feed(decoder.decode(block)):
            await gathered.add(text)
    await gathered.add(safe.feed(decoder.decode(b"", final=True)) + safe.end())


async def _next_live(services: Services, app: str, after: int) -> int | None:
    """Wait until another release is live; its number."""
    async for event in services.events.watch(after):
        if event.kind == "deploy.status" and event.app == app and event.data["status"] == "live":
            return event.number
    return None
