"""Looks at the remotes and at the registries of models: reads the present heads and decides on the new ones.

A webhook, the poll, the start, a reload and a redelivery are only reasons to look. There is one look at a time for each
repository; a request that arrives during a look causes one more. A look asks the remote for its heads once, and for each app
with a registered model its registry. For each app whose head is not the last decided one, it makes a decision. Each head is
decided once. While only a registry is away, commits are deployed with the version that was seen last.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from deployd.config.app import App
from deployd.config.running import Running
from deployd.domain import Deploy
from deployd.goal import Head
from deployd.order.checks import WaitingHead
from deployd.order.repository import Repository, Trouble
from deployd.ports.checks import Checks
from deployd.ports.models import Models
from deployd.ports.source import Source
from deployd.store.store import Store

WAITS = (0.5, 1.0, 2.0, 4.0)


class Looks:
    """Looks at the repositories of all apps, and hands `submit` each deploy that is queued."""

    def __init__(
        self,
        running: Running,
        store: Store,
        source: Source,
        submit: Callable[[Deploy], None],
        waits: Sequence[float] = WAITS,
        checks: Checks | None = None,
        models: Models | None = None,
    ) -> None:
        """`waits`: the seconds between looks while the remote does not show the commit of a delivery yet. `checks` is asked for
        the apps with `require = "checks"`, `models` for those with `[app.model]`."""
        self._running = running
        self._make = partial(Repository, store, source, submit, waits, checks, models)
        self._repositories: dict[object, Repository] = {}
        self._serving: dict[object, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Look at the start, on request and every `git.poll_every`, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._running.tell(lambda _: self.reload())
            self.reload()
            await asyncio.Event().wait()

    def reload(self) -> None:
        """Use the repositories of the present config, and look at each."""
        every = self._running.config.git.poll_every
        apps: dict[object, list[App]] = {}
        for app in self._running.apps:
            apps.setdefault(_remote(app), []).append(app)
        for gone in self._repositories.keys() - apps.keys():
            del self._repositories[gone]
            self._serving.pop(gone).cancel()
        for remote, its in apps.items():
            if (repository := self._repositories.get(remote)) is None:
                repository = self._repositories[remote] = self._make()
                self._serving[remote] = self._tasks.create_task(repository.serve(), name=f"looks at {its[0].repo}")
            repository.apps, repository.every = its, every
            repository.ask()

    def ask(self, apps: Iterable[str]) -> None:
        """Ask for a look for these apps, after a delivery."""
        for app in map(self._running.app, apps):
            if app is not None and (repository := self._repositories.get(_remote(app))) is not None:
                repository.ask()

    def trouble(self, app: str) -> Trouble | None:
        """Why the app's repository, or the registry of its model, cannot be looked at now; None when it can."""
        configured = self._running.app(app)
        repository = self._repositories.get(_remote(configured)) if configured is not None else None
        return repository.troubles.get(app) if repository is not None else None

    def waiting(self, app: str) -> WaitingHead | None:
        """The head of the app that waits for its checks; None when none does."""
        configured = self._running.app(app)
        repository = self._repositories.get(_remote(configured)) if configured is not None else None
        return repository.waiting.of(app) if repository is not None else None

    async def ask_checks(self, app: App, head: Head) -> WaitingHead | None:
        """Why the head would wait for its checks; None when it would not. Nothing is remembered of that."""
        repository = self._repositories.get(_remote(app))
        return await repository.waiting.ask(app, head) if repository is not None else None

    def troubled(self) -> Mapping[str, Trouble]:
        """The apps that cannot be looked at now, and why."""
        found = {app.name: self.trouble(app.name) for app in self._running.apps}
        return {app: trouble for app, trouble in found.items() if trouble is not None}


def _remote(app: App) -> object:
    """The key of a remote. It includes the credentials, as a remote may show other refs to other users."""
    return (app.repo, app.credentials, app.ssh_key, app.known_hosts)
