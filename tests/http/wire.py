"""A server on a free port, and a client that sends exactly the bytes that a test gives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from deployd.http.server import Server, bind


async def hello(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, str(size).encode())


async def answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[Server, int]]:
    """The application on a free port, and the server stopped at the end."""
    server, bound = Server(app, stop_within=5), bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    try:
        yield server, bound.getsockname()[1]
    finally:
        # Also after a failure: uvloop closes for ever where a connection is left open and warnings are errors.
        server.stop()
        await serving


class Client:
    """A connection that sends exactly the bytes that a test gives it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, every: float = 0.02) -> None:
        """Send one byte at a time until the other side closes."""
        with suppress(ConnectionError):
            for byte in data:
                await self.send(bytes([byte]))
                await asyncio.sleep(every)

    async def answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    async def ended(self) -> bytes:
        """The bytes until the other side closes."""
        with suppress(ConnectionError):
            return await self.reader.read()
        return b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def request(body: bytes = b"", *headers: str, method: str = "POST", announced: int | None = None) -> bytes:
    size = len(body) if announced is None else announced
    lines = [f"{method} /webhooks/github HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
