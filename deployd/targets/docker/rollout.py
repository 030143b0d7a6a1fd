"""One roll-out on the engine: candidate, proof, cut-over, and what is put back when it does not work out.

`beside` is the usual way; `in_place_of` is for apps that cannot run twice and has a gap, which it states.
"""

import logging
import time

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.gateway.gateway import Gateway
from deployd.ports import Candidate, Progress
from deployd.targets.docker.containers import LAST_LINES, Containers, Held, Running
from deployd.targets.docker.restore import bring_back, stop_release
from deployd.tasks import together, uninterrupted

logger = logging.getLogger(__name__)


class Rollout:
    """Makes `image` serve `app`, or leaves what served before as it was. For one use."""

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

    async def beside(self) -> None:
        """Prove the candidate while the old release serves, then switch."""
        try:
            async with self._progress.step("candidate"):
                await uninterrupted(self._make())
                running = await self._containers.start(self._app, self._deploy.number)
            await self._prove(running)
            await uninterrupted(self._cut_over(running))
        finally:
            if not self._serves:
                await uninterrupted(self._discard())

    async def in_place_of(self, old: Held) -> None:
        """Stop the old release, start and prove the new one, switch; the old one comes back when that fails.

        What serves changes with the first step, so a cancellation is obeyed before it or after the last.
        """
        try:
            async with self._progress.step("candidate"):
                await uninterrupted(self._make())
            await uninterrupted(self._replace(old))
        finally:
            if not self._serves:
                await uninterrupted(self._discard())

    async def _make(self) -> None:
        """The candidate's container; one that has the traffic already, after a record that failed, is proven once more."""
        if not await self._has_traffic():
            await self._containers.make(self._app, self._deploy, self._image, self._progress.log)

    async def _has_traffic(self) -> bool:
        found = await self._containers.find(self._app, self._deploy.number)
        if found is None or found.endpoint is None:
            return False
        return found.endpoint == await self._gateway.serving(self._app.name)

    async def _prove(self, running: Running) -> None:
        """Ask the gates; the end of the container ends them at once."""
        candidate = Candidate(self._app, self._deploy, running.address, self._image)
        try:
            await self._containers.unless_ended(running, self._deploy.name, self._progress.prove(candidate))
        except RolloutFailed as exc:
            last_words = await self._containers.tail(running.id, LAST_LINES)
            if last_words:
                self._progress.log.write(f"the last lines of {self._deploy.name}:\n{last_words}\n")
            raise exc if exc.hint else RolloutFailed(exc.message, hint=last_words) from exc

    async def _cut_over(self, running: Running) -> None:
        async with self._progress.step("cut-over"):
            keep = self._containers.keep(running.id, self._app.docker.restart)  # 20 ms, in which the record is made
            await together(self._progress.cutting_over(), keep)
            await self._switch_and_record(running)

    async def _switch_and_record(self, running: Running) -> None:
        """Switch and record, as one. What served before is put back when the record cannot be made."""
        before = await self._gateway.switch(self._app.name, running.endpoint)
        try:
            await self._progress.serving()
        except BaseException:
            if before is not None:
                await self._gateway.switch(self._app.name, before)
            raise
        self._serves = True
        instead = f" and not to {before} any more" if before is not None else ""
        self._progress.log.write(f"traffic goes to {running.endpoint}{instead}\n")
        try:
            await self._gateway.save()
        except Unavailable as exc:
            logger.warning("The gateway's file is behind: %s", exc)

    async def _replace(self, old: Held) -> None:
        await self._progress.cutting_over()
        began = time.monotonic()
        try:
            async with self._progress.step("stop the old release"):
                await stop_release(self._app, old, self._containers, self._gateway)
            running = await self._containers.start(self._app, self._deploy.number)
            await self._prove(running)
            await self._containers.keep(running.id, self._app.docker.restart)
            async with self._progress.step("cut-over"):
                await self._switch_and_record(running)
        except BaseException:
            await self._bring_back(old)
            raise
        finally:
            self._progress.log.write(f"nothing served for {time.monotonic() - began:.1f} s (start = stop-first)\n")

    async def _bring_back(self, old: Held) -> None:
        """The old release serves again; the new one goes first, since both cannot run. What failed before is what counts."""
        try:
            await self._containers.remove_named(self._app, self._deploy.number)
            await bring_back(self._app, old.number, None, self._containers, self._gateway)
        except (RolloutFailed, Unavailable) as exc:
            logger.error("The release %s/%s does not come back: %s", self._app.name, old.number, exc)
            self._progress.log.write(f"{self._app.name}/{old.number} does not come back: {exc}\n")

    async def _discard(self) -> None:
        """Remove the candidate, unless the traffic is, or may be, with it: then that is for `sweep` to find out."""
        try:
            if not await self._has_traffic():
                await self._containers.remove_named(self._app, self._deploy.number)
        except (Unavailable, RolloutFailed) as exc:
            logger.warning("The candidate %s is left for the next sweep: %s", self._deploy.name, exc)
