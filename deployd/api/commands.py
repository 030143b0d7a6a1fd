"""Commands in the live release, with their streamed output, and the terminals for them."""

import codecs
import json
import secrets
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import APIRouter
from starlette.responses import Response

from deployd.api.asked import ExecAsked, TypedAsked
from deployd.api.auth import RULES
from deployd.api.services import Given, Services
from deployd.api.streams import Stream, Write
from deployd.errors import RequestRefused
from deployd.http.problems import PROBLEMS
from deployd.terminal import Size, Terminal

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


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


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"
