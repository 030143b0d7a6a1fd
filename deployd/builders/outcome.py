"""The endings of a build with any builder: its time limit, and the errors for its failures."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports.log import Log

_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|connection re(?:fused|set)|TLS handshake|toomanyrequests|EOF$"
    r"|Client\.Timeout|context deadline exceeded|network is unreachable|server misbehaving|\b50[0-4]\b"
)
_KILLED = 137


@asynccontextmanager
async def in_time(limit: float, log: Log) -> AsyncIterator[None]:
    """BuildFailed when the block takes longer than `limit` seconds."""
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError as exc:
        raise BuildFailed(f"the build was stopped after builder.timeout ({limit:g} s)", hint=log.tail()) from exc


def step_failed(where: str, code: int, last_lines: str) -> BuildFailed:
    """The error for a build step that ended with `code`; the hint is what it printed last."""
    killed = "\n137 means that it was killed, usually for lack of memory: see builder.memory" if code == _KILLED else ""
    return BuildFailed(f"{where}exit code {code}", hint=last_lines + killed)


def base_failed(where: str, text: str) -> DeploydError:
    """The error for a base image that cannot be pulled: its registry cannot be reached, or refuses or lacks the image."""
    if _UNREACHABLE.search(text):
        return Unavailable(f"{where}{text}", hint="the registry of the base image cannot be reached")
    return BuildFailed(
        f"{where}{text}",
        hint="check the name of the base image; a private registry needs credentials in [registry]",
    )
