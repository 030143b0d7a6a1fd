"""What the doors of the API hand requests to, put together once by main.py.

Holds no logic, and no state of its own but what the open streams and the last check of the parts have in common.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from deployd.api.readiness import Readiness
from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.errors import RequestRefused
from deployd.events import Events
from deployd.logs.logs import Logs
from deployd.ports import Target
from deployd.scheduler import Scheduler
from deployd.store.store import Store

_MOST_STREAMS = 1000


class Streams:
    """The answers that go on until somebody ends them, at most so many at once."""

    def __init__(self, most: int = _MOST_STREAMS) -> None:
        self.most = most
        self.open = 0

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[None]:
        """Hold one for the length of the block; RequestRefused 429 when all are taken."""
        if self.open >= self.most:
            raise RequestRefused(429, f"{self.most} streams are open already", hint="close one, or try again later")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass(slots=True)
class Services:
    """`reload` reads the file again, replaces the running config and names what takes a restart. Once `stopping` is set every
    stream ends."""

    running: Running
    scheduler: Scheduler
    store: Store
    events: Events
    logs: Logs
    targets: Mapping[str, Target]
    reload: Callable[[], Awaitable[Sequence[str]]]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Streams = field(default_factory=Streams)
    readiness: Readiness = field(default_factory=Readiness)

    @property
    def config(self) -> Config:
        """The config that counts now."""
        return self.running.config


async def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Given = Annotated[Services, Depends(_services)]
"""The services, as an endpoint's parameter."""
