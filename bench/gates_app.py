"""The service that `bench gates` deploys: it answers what the model in its commit says of a row, and counts its requests.

A file in the image says how it misbehaves: `slow`, `crash` at row 7, and from 5 s of its clients' traffic on `errs` and `leaks`.

It runs in a container that has nothing but Python, so it imports nothing of deployd.
"""

import asyncio
import json
import os
import time

COMMIT = os.environ["COMMIT"]
with open("/labels.json") as _labels:  # noqa: PTH123 - this runs in a container
    LABELS = json.load(_labels)
with open("/behaviour") as _behaviour:  # noqa: PTH123 - see above
    BEHAVIOUR = _behaviour.read()
_CRASHES_AT, _TURNS_AFTER_S = 7, 5.0
asked = 0
turns_at = float("inf")
leaked: list[bytes] = []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")), 0)
            body = answer(head.split(" ", 2)[1], await reader.readexactly(length))
            if BEHAVIOUR == "slow":
                await asyncio.sleep(0.02)
            kind = "Content-Type: application/json\r\n"
            status = "500 No" if turned("x-forwarded-for" in head) else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
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
    if BEHAVIOUR == "crash" and any(row["row"] == _CRASHES_AT for row in rows):
        os._exit(9)
    return json.dumps({"predictions": [{"label": LABELS[row["row"]]} for row in rows]}).encode()


def turned(of_a_client: bool) -> bool:
    """Whether it errs by now. It turns bad some time after its first client, whom it knows by what the gateway adds."""
    global turns_at  # noqa: PLW0603 - see above
    if of_a_client and turns_at == float("inf"):
        turns_at = time.monotonic() + _TURNS_AFTER_S
    if time.monotonic() < turns_at:
        return False
    if BEHAVIOUR == "leaks":
        leaked.append(b"x" * 200_000)
    return BEHAVIOUR == "errs"


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
