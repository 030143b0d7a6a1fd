"""Reads streamed answers of the API line by line."""

import asyncio

import httpx

from tests.desk import Desk


class Reader:
    """The lines of a streamed answer. Keep it as long as the stream is to stay open: a generator that nobody holds is closed, and
    closes the connection."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def until(self, wanted: str) -> list[str]:
        """All lines up to the first that begins with `wanted`."""
        found: list[str] = []
        async with asyncio.timeout(20):
            async for line in self._lines:
                found.append(line)
                if line.startswith(wanted):
                    return found
        raise AssertionError(f"{wanted!r} never came: {found}")

    async def rest(self) -> list[str]:
        async with asyncio.timeout(20):
            return [line async for line in self._lines]


async def open_streams(daemon: Desk, wanted: int) -> None:
    async with asyncio.timeout(20):
        while daemon.services.streams.open != wanted:  # noqa: ASYNC110 - the daemon tells nobody
            await asyncio.sleep(0.01)


async def deployed(daemon: Desk, commit: str) -> None:
    """Deploy `commit`, to the end of what follows the switch: then nobody writes its log any more."""
    deploy = await daemon.deployed(commit)
    async with asyncio.timeout(20):
        while not await _is_over(daemon, deploy.number):  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)


async def _is_over(daemon: Desk, number: int) -> bool:
    found = await daemon.store.deploy("iris", number)
    assert found is not None
    return not daemon.logs._feeds and any(step.name == "prune" and step.finished_at for step in found.steps)
