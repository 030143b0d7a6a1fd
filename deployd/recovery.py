"""What should serve and what does, brought together: at the start, and after a deploy that broke off while it changed that."""

import logging

from deployd.config.app import App
from deployd.domain import Deploy, Status
from deployd.errors import DeploydError, Unavailable
from deployd.logs.log import DaemonLog
from deployd.ports import Target
from deployd.store.store import Store

logger = logging.getLogger(__name__)


class Recovery:
    """For one app, on the target that it has now."""

    def __init__(self, store: Store, target: Target, app: App) -> None:
        self._store = store
        self._target = target
        self._app = app

    async def recover(self) -> Deploy | None:
        """Take up what an earlier life of the daemon left in flight, then settle; the live release, if there is one."""
        if (deploy := (await self._store.state(self._app.name)).in_flight) is not None:
            if deploy.status is Status.ROLLING_OUT and await self._target.serving(self._app) == deploy.number:
                await self._store.advance(deploy, Status.LIVE, reason="the switch was found done after a restart")
            else:
                await self._store.advance(deploy, Status.QUEUED, reason="interrupted by a restart")
        return await self.settle()

    async def settle(self) -> Deploy | None:
        """Let the recorded live release serve, and nothing unproven. Without one, what a deploy left half-made goes."""
        live = (await self._store.state(self._app.name)).live
        if live is None:
            if (serving := await self._target.serving(self._app)) is not None:
                await self._store.number_above(self._app.name, serving)
            await self._target.sweep(self._app, None, DaemonLog())
        elif live.target == self._app.target and await self._target.serving(self._app) != live.number:
            await self._restore(live)
        return live

    async def _restore(self, live: Deploy) -> None:
        """The recorded release does not serve: restore it. If that fails, what serves instead stays."""
        logger.warning("Deploy %s is recorded as live and does not serve: restoring it", live.name)
        try:
            await self._target.restore(self._app, live)
        except Unavailable:
            raise
        except DeploydError as exc:
            logger.error("Cannot restore %s: %s (%s)", live.name, exc, exc.hint)
