"""A release as the gates see it: an HTTP server on a free port whose answers a test scripts."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.goal import Trigger
from deployd.ports.gate import Candidate
from deployd.status import Status

COMMIT = "c0ffee" + "0" * 34
Answer = tuple[int, bytes]


@asynccontextmanager
async def serving(answer: Callable[[str, bytes], Answer], takes: float = 0.0) -> AsyncIterator[str]:
    """The address of a server that answers (path, body) with what `answer` says, status and body, after `takes` seconds."""

    connections: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (connection := asyncio.current_task()) is not None:
            connections.add(connection)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().splitlines()
                length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                await asyncio.sleep(takes)
                status, body = answer(head.decode().split(" ")[1], body)
                writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        if connections:  # the clients are gone, so they end
            await asyncio.wait(connections)


def a_candidate(address: str, **sections: Any) -> Candidate:
    """A candidate at `address` whose app has these sections."""
    app = App.model_validate(
        {
            "name": "iris",
            "repo": "https://git.example.com/acme/iris.git",
            "branch": "main",
            "gateway": {"listen": 8000},
            **sections,
        }
    )
    deploy = Deploy("iris", 1, COMMIT, "refs/heads/main", Trigger("push"), Status.CHECKING, datetime.now(UTC))
    return Candidate(app, deploy, address, Image("deployd/iris", COMMIT, "sha256:0"))


def as_json(value: Any) -> bytes:
    """What a service sends."""
    return json.dumps(value).encode()
