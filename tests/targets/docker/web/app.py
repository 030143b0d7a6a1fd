"""The release that the engine tests deploy: says its commit, slowly when asked, and misbehaves as its environment says.

With a LOCK it ends at once while another one runs."""

import asyncio
import contextlib
import fcntl
import os
import sys
from urllib.parse import parse_qs, urlsplit

COMMIT = os.environ["COMMIT"]
FAULT = os.environ.get("FAULT", "")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = head.split(" ", 2)[1]
            length = next(
                (int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0
            )
            await reader.readexactly(length)
            path = urlsplit(target)
            if path.path == "/" and FAULT == "slow":
                await asyncio.sleep(0.1)
            if path.path == "/" and FAULT == "hangs":
                await asyncio.Event().wait()
            if path.path == "/" and FAULT == "ends":
                os._exit(5)
            if pause := parse_qs(path.query).get("sleep"):
                await asyncio.sleep(float(pause[0]))
            status, body = answer(path.path, head)
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()


def answer(path: str, head: str) -> tuple[str, bytes]:
    if path == "/headers":
        return "200 OK", head.encode()
    if path == "/ready" and (FAULT == "never-ready" or os.path.exists("/tmp/unready")):  # noqa: PTH110
        return "503 Service Unavailable", b"the model is not loaded"
    if path == "/" and FAULT == "errs":
        return "500 Internal Server Error", b"the model is broken"
    if path == "/version":
        return "200 OK", f'{{"commit": "{COMMIT}"}}'.encode()
    return "200 OK", COMMIT.encode()


async def main() -> None:
    print(f"starting {COMMIT}", flush=True)
    if FAULT == "crash":
        print("no model file", file=sys.stderr, flush=True)
        sys.exit(3)
    if os.environ.get("LOCK"):
        lock = os.open(os.environ["LOCK"], os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("another one has the lock", file=sys.stderr, flush=True)
            sys.exit(4)
    server = await asyncio.start_server(serve, "0.0.0.0", int(os.environ.get("PORT", "5000")), limit=2**20)
    asyncio.get_running_loop().add_signal_handler(15, server.close)
    async with server:
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()
    print("stopped", flush=True)
    os._exit(0)


asyncio.run(main())
