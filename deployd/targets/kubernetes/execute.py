"""Runs a command in a running container: its output as it comes, and its exit code.

Uses the channel protocol of the API server's exec: each message begins with the number of its channel.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from deployd.errors import RequestRefused, Unavailable
from deployd.targets.kubernetes.client import Cluster
from deployd.tasks import beside
from deployd.terminal import Size, Terminal

_IN, _OUT, _ERR, _STATUS, _RESIZE = range(5)


async def run(
    cluster: Cluster,
    pod: str,
    container: str,
    command: Sequence[str],
    out: Callable[[bytes], Awaitable[None]],
    terminal: Terminal | None = None,
) -> int:
    """Run `command` in `container` of the pod at the path `pod`. RequestRefused 409 when it cannot be started."""
    streams = ("stdout", "stderr") if terminal is None else ("stdin", "stdout", "tty")
    query = [("container", container), *((name, "true") for name in streams), *(("command", part) for part in command)]
    async with cluster.socket(f"{pod}/exec", query) as channels, beside(*_typing(terminal, channels.send_bytes)):
        async for message in channels:
            data = message.data
            if not isinstance(data, bytes) or not data:
                continue
            if data[0] in {_OUT, _ERR} and len(data) > 1:
                await out(data[1:])
            elif data[0] == _STATUS:
                return exit_code(data[1:])
    raise Unavailable("the connection ended before the command did")


def _typing(terminal: Terminal | None, send: Callable[[bytes], Awaitable[None]]) -> Sequence[Coroutine[Any, Any, None]]:
    return () if terminal is None else (_pass_on(terminal, send),)


async def _pass_on(terminal: Terminal, send: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        what = await terminal.next()
        if isinstance(what, Size):
            await send(bytes([_RESIZE]) + json.dumps({"Width": what.columns, "Height": what.rows}).encode())
        else:
            await send(bytes([_IN]) + what)


def exit_code(status: bytes) -> int:
    """The exit code from a message of the status channel; RequestRefused when the command did not start."""
    try:
        found = json.loads(status)
    except ValueError as exc:
        raise Unavailable(f"the cluster does not tell how the command ended: {status[:200]!r}") from exc
    if found.get("status") == "Success":
        return 0
    for cause in (found.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise RequestRefused(409, f"the command did not start: {found.get('message', 'no reason given')}")
