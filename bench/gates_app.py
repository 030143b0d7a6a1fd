"""The service that `bench gates` deploys: it answers what the model in its commit says of a row, and counts its requests.

It runs in a container that has nothing but Python, so it imports nothing of deployd.
"""

import asyncio
import json
import os

COMMIT = os.environ["COMMIT"]
with open("/labels.json") as _labels:  # noqa: PTH123 - this runs in a container
    LABELS = json.load(_labels)
asked = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")), 0)
            body = answer(head.split(" ", 2)[1], await reader.readexactly(length))
            kind = "Content-Type: application/json\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()


def answer(path: str, body: bytes) -> bytes:
    """The commit; the number of requests so far; or the labels of the rows."""
    global asked  # noqa: PLW0603 - one process, one loop
    if path == "/asked":
        return str(asked).encode()
    if path != "/predict":
        return COMMIT.encode()
    asked += 1
    rows = json.loads(body)["instances"]
    return json.dumps({"predictions": [{"label": LABELS[row["row"]]} for row in rows]}).encode()


async def main() -> None:
    """Serve until SIGTERM."""
    server = await asyncio.start_server(serve, "0.0.0.0", 5000, backlog=1024)  # noqa: S104 - in a container
    asyncio.get_running_loop().add_signal_handler(15, server.close)
    print("serving", COMMIT, flush=True)
    try:
        await server.serve_forever()
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(main())
