"""The parts of the daemon that the endpoints use; main.py creates them once.

Holds no logic. Its only own state is the number of open streams, the last readiness check, the failed logins, the pages drawn
last, the webhook requests that were not stored, and the terminals of the commands that run at one, by a name that only the caller
of each knows.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from deployd.api.not_kept import NotKeptList
from deployd.api.pages.shared import Shared
from deployd.api.readiness import Readiness
from deployd.api.throttle import Throttle
from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.errors import RequestRefused
from deployd.events import Events
from deployd.logs.logs import Logs
from deployd.ports.target import Target
from deployd.reporters.reporting import Reporting
from deployd.sampler import Sampler
from deployd.scheduler import Scheduler
from deployd.store.store import Store
from deployd.terminal import Terminal

_MOST_STREAMS = 1000


class Streams:
    """Counts the open streaming answers, and allows at most `most` at once."""

    def __init__(self, most: int = _MOST_STREAMS) -> None:
        self.most = most
        self.open = 0

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """Count one open stream for the length of the block. RequestRefused 429 when too many are open."""
        if self.open >= self.most:
            raise RequestRefused(429, f"{self.most} streams are open already", hint="close one, or try again later")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass(slots=True)
class Services:
    """`reload` reads the config file again, replaces the running config and returns the keys that need a restart.

    Once `stopping` is set, every stream ends.
    """

    running: Running
    scheduler: Scheduler
    store: Store
    events: Events
    logs: Logs
    targets: Mapping[str, Target]
    sampler: Sampler
    reporting: Reporting
    reload: Callable[[], Awaitable[Sequence[str]]]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Streams = field(default_factory=Streams)
    readiness: Readiness = field(default_factory=Readiness)
    terminals: dict[str, Terminal] = field(default_factory=dict)
    logins: Throttle = field(default_factory=Throttle)
    drawings: Shared = field(default_factory=Shared)
    not_kept: NotKeptList = field(default_factory=NotKeptList)

    @property
    def config(self) -> Config:
        """The present config."""
        return self.running.config


async def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Given = Annotated[Services, Depends(_services)]
"""The services, as an endpoint's parameter."""
