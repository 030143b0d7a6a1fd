"""The client of a Docker Engine. Close it, or use it as an async context manager."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from deployd.engine.connection import ENDLESS, Connection
from deployd.engine.containers import EngineContainers
from deployd.engine.images import EngineImages
from deployd.engine.networks import EngineNetworks


class EngineClient:
    """A client of the engine at `url` (None: the one that the docker client would use). ConfigError without one."""

    def __init__(self, url: str | None = None) -> None:
        self._connection = Connection(url)
        self.endpoint = self._connection.endpoint
        self.containers = EngineContainers(self._connection)
        self.images = EngineImages(self._connection)
        self.networks = EngineNetworks(self._connection)
        self._info: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel all requests in progress, for example a build."""
        await self._connection.close()

    async def ping(self) -> None:
        """Unavailable when the engine does not answer."""
        async with self._connection.open("asking the engine", "_ping"):
            pass

    async def is_podman(self) -> bool:
        """Whether Podman answers in the place of a Docker Engine."""
        return await self._connection.is_podman()

    async def version(self) -> dict[str, Any]:
        """The engine's version and that of its API."""
        found: dict[str, Any] = await self._connection.ask("asking the engine", "version")
        return found

    async def info(self) -> dict[str, Any]:
        """The engine's description of itself and of its machine. It is asked once: the engine starts two processes for it."""
        if not self._info:
            self._info = await self._connection.ask("asking the engine for its description", "info")
        return self._info

    async def events(self, filters: Mapping[str, Sequence[str]]) -> AsyncIterator[bytes]:
        """The engine's events from now on, one JSON line each, until the engine ends the stream."""
        query = {"filters": json.dumps(filters)}
        async with self._connection.open("watching the engine", "events", query=query, timeout=ENDLESS) as answer:
            async for line in answer.content:
                yield line

    async def past_events(self, filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """The engine's events until now, as far as it remembers them."""
        query = {"filters": json.dumps(filters), "since": "0", "until": f"{time.time():.3f}"}
        async with self._connection.open("asking for events", "events", query=query) as answer:
            return [json.loads(line) async for line in answer.content]
