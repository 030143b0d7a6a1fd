"""All reporters that the config asks for, each with its sender. A reload replaces them, and secrets are read anew.

Reporters that are not configured cost nothing: their libraries are not loaded.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.config.values import read_secret
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.logs.logs import Logs
from deployd.reporters.github import GitHubReporter
from deployd.reporters.github_login import log_in
from deployd.reporters.message import Message
from deployd.reporters.news import Newsroom
from deployd.reporters.notify import NotifyReporter
from deployd.reporters.reporter import Refused, Reporter
from deployd.reporters.sender import Sender
from deployd.store.outbox import Unsent
from deployd.store.store import Store
from deployd.tasks import stop, together

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0


async def _tried(reporter: NotifyReporter, message: Message) -> str:
    try:
        await reporter.send(message)
    except (Refused, Unavailable) as exc:
        return f"{exc.message} ({exc.hint})" if exc.hint else exc.message
    return ""


class Reporting:
    """Sends the outbox through the reporters. Call `begin` before `serve`, and `prepare` and `use` at each reload."""

    def __init__(self, running: Running, store: Store, events: Events, logs: Logs) -> None:
        self._running = running
        self._store = store
        self._events = events
        self._logs = logs
        self._reporters: Sequence[Reporter] = ()
        self._senders: list[Sender] = []
        self._changed = asyncio.Event()
        self._unsubscribed = False

    def prepare(self, config: Config) -> Sequence[Reporter]:
        """The reporters that a config asks for. Raises ConfigError where a secret of theirs cannot be read."""
        return list(self._made(config))

    def use(self, reporters: Sequence[Reporter]) -> None:
        """Use these reporters from now on; `serve` records at once what they are to tell."""
        self._reporters = reporters
        self._changed.set()

    async def begin(self) -> None:
        """Use the reporters of the present config, and record what they are to tell. A start does not wait for a disk that
        refuses to record that: `serve` tries again. Raises ConfigError."""
        self.use(self.prepare(self._running.config))
        await self._subscribed()

    async def serve(self) -> None:
        """Run the senders until cancelled. What is not told then is told after the next start."""
        while True:
            self._changed.clear()
            if not await self._subscribed():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS):
                        await self._changed.wait()
                continue
            self._senders = [Sender(reporter, self._store, self._events) for reporter in self._reporters]
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(one.serve(), name=f"reports to {one.reporter.name}") for one in self._senders
                ]
                await self._changed.wait()
                await self._subscribed()  # before the senders have stopped: what happens meanwhile is for the new ones
                await stop(*running)

    async def _subscribed(self) -> bool:
        """Whether the store has recorded the subscriptions of the reporters."""
        try:
            await self._store.subscribe({reporter.name: reporter.statuses for reporter in self._reporters})
        except Unavailable as exc:
            if not self._unsubscribed:
                logger.warning("Cannot record what is to be reported; trying again: %s (%s)", exc, exc.hint)
            self._unsubscribed = True
        else:
            self._unsubscribed = False
        return not self._unsubscribed

    async def unsent(self) -> Sequence[tuple[Unsent, str]]:
        """The unsent reports of each reporter, and the reason if it is known. Raises Unavailable."""
        troubles: Mapping[str, str] = {one.reporter.name: one.trouble for one in self._senders}
        return [(one, troubles.get(one.reporter, "")) for one in await self._store.unsent_reports()]

    async def test(self, message: Message) -> Mapping[str, str]:
        """Send a message to every URL of [notify]; by its reference, why that failed, or nothing."""
        reporters = [one for one in self._reporters if isinstance(one, NotifyReporter)]
        said = await together(*(_tried(one, message) for one in reporters))
        return dict(zip((one.reference for one in reporters), said, strict=True))

    def _made(self, config: Config) -> Iterator[Reporter]:
        if config.github.report != "off":
            api = log_in(config.github, self._logs.hide)
            checks = config.github.app is not None
            yield GitHubReporter(self._running, self._store, api, config.github.report, checks=checks)
        newsroom = Newsroom(self._running, self._store)
        for at, reference in enumerate(config.notify.urls):
            url = read_secret(reference, f"notify.urls[{at}]")
            self._logs.hide([url])
            yield NotifyReporter(reference, url, newsroom, config.notify)
