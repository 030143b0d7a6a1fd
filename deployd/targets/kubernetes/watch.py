"""Follow the apps' Deployments: tell which app's Deployment was changed or deleted.

Changes of its status alone are told, too: pods that fail show there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from deployd.backoff import Backoff
from deployd.config.app import App
from deployd.errors import DeploydError
from deployd.ports.target import Changed
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.informer import Informer
from deployd.tasks import stop

logger = logging.getLogger(__name__)

_DELAYS = (1.0, 5.0, 30.0, 300.0)


class Watch:
    """One watch for each app. `cluster` opens the cluster of an app."""

    def __init__(self, cluster: Callable[[App], Awaitable[Cluster]]) -> None:
        self._cluster = cluster
        self._apps: tuple[App, ...] = ()
        self._expected = asyncio.Event()

    def expect(self, apps: Iterable[App]) -> None:
        """Follow the Deployments of these apps from now on."""
        self._apps = tuple(apps)
        self._expected.set()

    async def serve(self, changed: Changed) -> None:
        """Follow all Deployments until cancelled."""
        following: dict[str, tuple[App, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._expected.wait()
                self._expected.clear()
                wanted = {app.name: app for app in self._apps}
                gone = [name for name, (app, _) in following.items() if wanted.get(name) != app]
                await stop(*(following.pop(name)[1] for name in gone))
                for name in wanted.keys() - following.keys():
                    task = tasks.create_task(self._follow(wanted[name], partial(changed, name)))
                    following[name] = wanted[name], task

    async def _follow(self, app: App, changed: Callable[[], None]) -> None:
        """Follow one app's Deployment until cancelled. Where the account may not watch, the release is only compared
        periodically."""
        backoff = Backoff(_DELAYS)
        _, name = manifests.names(app)
        while True:
            try:
                collection, query = manifests.collection(app, "deployments"), f"metadata.name={name}"
                informer = Informer(await self._cluster(app), collection, changed, fieldSelector=query)
                await informer.run()
                logger.warning("The Deployment of %s cannot be watched: %s", app.name, informer.failure)
            except DeploydError as exc:
                logger.warning("The Deployment of %s cannot be watched: %s", app.name, exc)
            await asyncio.sleep(backoff.fail())
