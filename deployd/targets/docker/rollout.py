"""One roll-out on the engine: candidate, gates, cut-over; a failure leaves the old release serving.

`start_first` is the usual way. `stop_first` is for apps that cannot run twice; it has a gap, whose length is logged.
"""

import logging
import time
from collections.abc import Coroutine
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.gateway.gateway import Gateway
from deployd.gateway.slots import Endpoint
from deployd.ports.gate import Candidate, Serving
from deployd.ports.target import Progress
from deployd.probe import headers_of
from deployd.targets.docker.canary import Canary
from deployd.targets.docker.container import AppContainer, Running
from deployd.targets.docker.containers import LAST_LINES, Containers
from deployd.targets.docker.drain import until_empty
from deployd.targets.docker.restore import start_and_switch, stop_release
from deployd.tasks import together, uninterrupted

logger = logging.getLogger(__name__)


class Rollout:
    """Makes `image` serve `app`; a failure leaves the old release serving. For one use."""

    def __init__(
        self, app: App, deploy: Deploy, image: Image, progress: Progress, containers: Containers, gateway: Gateway
    ) -> None:
        self._app = app
        self._deploy = deploy
        self._image = image
        self._progress = progress
        self._containers = containers
        self._gateway = gateway
        self._serves = False
        self._tried: Endpoint | None = None  # had a share of the traffic

    async def start_first(self) -> None:
        """Prove the candidate while the old release serves, then switch the traffic."""
        try:
            async with self._progress.step("candidate"):
                container = await uninterrupted(self._make())
                running = await self._containers.start(self._app, self._deploy.number, container)
            candidate = await self._prove(running)
            await self._try_out(running, candidate)
            await uninterrupted(self._cut_over(running))
        finally:
            if not self._serves:
                await uninterrupted(self._discard())

    async def prove(self) -> None:
        """Prove a candidate, and remove it."""
        try:
            async with self._progress.step("candidate"):
                container = await uninterrupted(self._make())
                running = await self._containers.start(self._app, self._deploy.number, container)
            await self._prove(running)
        finally:
            await uninterrupted(self._discard())

    async def stop_first(self, old: AppContainer) -> None:
        """Stop the old release, start and prove the new one, then switch. When that fails, the old one is restored.

        The first step already changes what serves, so a cancellation takes effect only before the first or after the last step.
        """
        try:
            async with self._progress.step("candidate"):
                container = await uninterrupted(self._make())
            await uninterrupted(self._replace(old, container))
        finally:
            if not self._serves:
                await uninterrupted(self._discard())

    async def _make(self) -> str:
        """Create the candidate's container, unless it already has the traffic after a failed record; then it is proven again."""
        if (found := await self._with_traffic()) is not None:
            return found.id
        return await self._containers.make(self._app, self._deploy, self._image, self._progress.log)

    async def _with_traffic(self) -> AppContainer | None:
        """The deploy's container, if it has the traffic."""
        found = await self._containers.find(self._app, self._deploy.number)
        if found is None or found.endpoint is None:
            return None
        return found if found.endpoint == await self._gateway.serving(self._app.name) else None

    async def _prove(self, running: Running) -> Candidate:
        """Ask the gates. When the container ends, they are cancelled at once."""
        headers = headers_of(self._app, secure=self._gateway.secure)
        live = await self._live(running)
        candidate = Candidate(self._app, self._deploy, running.address, self._image, headers, live)
        await self._while_running(running, self._progress.prove(candidate))
        return candidate

    async def _try_out(self, running: Running, candidate: Candidate) -> None:
        """Give it a growing share of the traffic first, where the app wants that and another release serves. A rollback is of a
        release that was proven that way before."""
        if len(self._app.gateway.weights) < 2 or self._deploy.rollback_to is not None:
            return
        old = await self._served()
        if old is None or old == running.endpoint:
            return
        self._tried = running.endpoint
        canary = Canary(self._app, self._gateway, self._progress, running.endpoint, old)
        await self._while_running(running, canary.run(candidate))

    async def _while_running(self, running: Running, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` until the container ends; what it printed last goes to the log and into the hint of a failure."""
        try:
            await self._containers.while_running(running, self._deploy.name, work)
        except RolloutFailed as exc:
            last_lines = await self._containers.tail(running.id, LAST_LINES)
            if last_lines:
                self._progress.log.write(f"the last lines of {self._deploy.name}:\n{last_lines}\n")
            if (silence := await self._containers.silence(running)) is not None:
                raise RolloutFailed(f"{exc.message}; {silence.reason}", hint=silence.hint or last_lines) from exc
            raise exc if exc.hint else RolloutFailed(exc.message, hint=last_lines) from exc

    async def _live(self, candidate: Running) -> Serving | None:
        """The release with the traffic while the candidate is proven; None when there is none, or it is the candidate itself."""
        endpoint = await self._served()
        if endpoint is None or endpoint == candidate.endpoint:
            return None
        for container in await self._containers.of(self._app):
            if container.endpoint == endpoint and (found := await self._containers.inspect(container.id)) is not None:
                return Serving(container.number, self._containers.address_of(found, self._app))
        return None

    async def _served(self) -> Endpoint | None:
        """The endpoint with the traffic. If HAProxy has ended since the roll-out began, it is started first."""
        await self._gateway.bring_up()
        return await self._gateway.serving(self._app.name)

    async def _cut_over(self, running: Running) -> None:
        async with self._progress.step("cut-over"):
            # The engine takes 20 ms for this, during which the record is written.
            policy = self._containers.set_restart_policy(running.id, self._app.docker.restart)
            await together(self._progress.cutting_over(), policy)
            await self._switch_and_record(running)

    async def _switch_and_record(self, running: Running) -> None:
        """Switch and record, as one step. When the record fails, switch back to what served before."""
        before = await self._gateway.switch(self._app.name, running.endpoint)
        try:
            await self._progress.serving()
        except BaseException:
            if before is not None:
                await self._gateway.switch(self._app.name, before)
            raise
        self._serves = True
        instead = f" instead of {before}" if before is not None else ""
        self._progress.log.write(f"traffic goes to {running.endpoint}{instead}\n")
        try:
            await self._gateway.save()
        except Unavailable as exc:
            logger.warning("The gateway's file is not up to date: %s", exc)

    async def _replace(self, old: AppContainer, container: str) -> None:
        await self._progress.cutting_over()
        began = time.monotonic()
        try:
            async with self._progress.step("stop the old release"):
                await stop_release(self._app, old, self._containers, self._gateway)
            running = await self._containers.start(self._app, self._deploy.number, container)
            await self._prove(running)
            await self._containers.set_restart_policy(running.id, self._app.docker.restart)
            async with self._progress.step("cut-over"):
                await self._switch_and_record(running)
        except BaseException:
            await self._restore_old(old)
            raise
        finally:
            self._progress.log.write(f"nothing served for {time.monotonic() - began:.1f} s (start = stop-first)\n")

    async def _restore_old(self, old: AppContainer) -> None:
        """Remove the new container, since both cannot run, and make the old release serve again. A failure here is only
        logged, so that the caller gets the first one."""
        try:
            await self._containers.remove_of(self._app, self._deploy.number)
            await start_and_switch(self._app, old.number, None, self._containers, self._gateway)
        except (RolloutFailed, Unavailable) as exc:
            logger.error("The release %s/%s cannot be restored: %s", self._app.name, old.number, exc)
            self._progress.log.write(f"{self._app.name}/{old.number} cannot be restored: {exc}\n")

    async def _discard(self) -> None:
        """Remove the candidate, unless it has, or may have, the traffic: then `sweep` decides. One that had a share of it
        finishes its requests first."""
        try:
            if await self._with_traffic() is not None:
                return
            if self._tried is not None:
                await self._gateway.call_back(self._app.name)
                await until_empty(self._app, self._tried, self._gateway)
                await self._gateway.release(self._app.name, self._tried)
            await self._containers.remove_of(self._app, self._deploy.number)
        except (Unavailable, RolloutFailed) as exc:
            logger.warning("The candidate %s is left for the next sweep: %s", self._deploy.name, exc)
