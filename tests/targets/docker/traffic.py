"""What a port answers, and a target that sees to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from deployd.targets.docker.target import DockerTarget


async def answer(port: int, path: str = "/", method: str = "GET") -> httpx.Response:
    """What a port answers now."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, verify=False) as http:
        return await http.request(method, f"http://127.0.0.1:{port}{path}")


async def answered(port: int, body: str) -> None:
    """Until the port answers that; a test's time limit is the deadline."""
    await _until(port, lambda answer: answer.text == body)


async def answered_503(port: int) -> None:
    """Until the port is open, with nothing behind it."""
    await _until(port, lambda answer: answer.status_code == 503)


async def _until(port: int, good: Callable[[httpx.Response], bool]) -> None:
    while True:
        with contextlib.suppress(httpx.TransportError):
            if good(await answer(port)):
                return
        await asyncio.sleep(0.05)


@asynccontextmanager
async def watched(target: DockerTarget) -> AsyncIterator[None]:
    """The target corrects by itself what goes wrong."""
    watch = asyncio.create_task(target.watch(lambda _app: None))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})
