"""Lets the gates ask a new pod of a rollout, through an address that reaches it."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from deployd.domain import Deploy, Image
from deployd.ports.gate import Candidate, Serving
from deployd.ports.log import Log
from deployd.probe import headers_of
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.candidate import address_of
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.follow import Follower
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.verdict import Aim
from deployd.tasks import first

Asking = Callable[[Candidate], Awaitable[None]]


class PodGates:
    """The gates of one deploy of `image`; `good` is the last good release, which serves meanwhile."""

    def __init__(
        self,
        deployment: AppDeployment,
        deploy: Deploy,
        image: Image,
        good: Release | None,
        follower: Follower,
        log: Log,
    ) -> None:
        self._deployment = deployment
        self._deploy = deploy
        self._image = image
        self._good = good
        self._follower = follower
        self._log = log

    async def ask(self, aim: Aim, asking: Asking, *, youngest: bool = False) -> None:
        """Let the gates ask the first new pod, or the youngest; or another one when that is deleted meanwhile."""
        app, follower = self._deployment.app, self._follower
        port = self._port(aim.template, aim.container)
        while True:
            if (pod := await follower.candidate(aim, youngest=youngest)) is None:
                self._log.write("no replicas are wanted, so nothing is proven\n")
                return
            async with AsyncExitStack() as stack:
                address = await stack.enter_async_context(address_of(self._deployment.cluster, pod, port))
                live = await self._live(aim, stack)
                headers = headers_of(app, secure=False)
                candidate = Candidate(app, self._deploy, address, self._image, headers, live)
                ended, _ = await first(_asked(asking, candidate), follower.gone(pod))
                if ended == 0:
                    return

    async def _live(self, aim: Aim, stack: AsyncExitStack) -> Serving | None:
        """A ready pod of the last good release, reached until `stack` ends; None when there is none."""
        good = self._good
        if good is None or (pod := self._follower.ready(aim, good.image)) is None:
            return None
        port = self._port(pod, aim.container)
        address = await stack.enter_async_context(address_of(self._deployment.cluster, pod, port))
        return Serving(good.number or 0, address)

    def _port(self, template: Json, container: str) -> int:
        settings = self._deployment.settings
        return manifests.port_of(template, container, settings.port) if settings.create else settings.port


async def _asked(asking: Asking, candidate: Candidate) -> None:
    await asking(candidate)
