"""A release that served and does so no more, brought back: its container started, or made anew from its image.

An app that cannot run twice is stopped wherever else it runs before that.
"""

import logging

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.errors import DeploydError, RolloutFailed
from deployd.gateway.gateway import Gateway
from deployd.probe import until_ready
from deployd.targets.docker.containers import Containers, Held
from deployd.targets.docker.drain import emptied
from deployd.tasks import uninterrupted

logger = logging.getLogger(__name__)


async def restore(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> None:
    """`deploy` serves. RolloutFailed when neither container nor image is left, or when it does not get ready: then what
    served instead serves on."""
    if await containers.find(app, deploy.number) is None:
        if deploy.image is None:
            raise RolloutFailed(f"{deploy.name} has no container and no image any more", hint="deploy its commit again")
        await uninterrupted(containers.make(app, deploy, deploy.image))
    if app.docker.start == "stop-first":
        await _restore_alone(app, deploy, containers, gateway)
    else:
        await bring_back(app, deploy.number, deploy.commit, containers, gateway)


async def stop_release(app: App, container: Held, containers: Containers, gateway: Gateway) -> None:
    """Stop a container that may serve and let it be, so that it can come back; what it has begun it may finish."""
    if container.endpoint is not None and container.endpoint == await gateway.serving(app.name):
        await gateway.stop_traffic(app.name)
    if container.endpoint is not None:
        await emptied(app, container.endpoint, gateway)
    await containers.keep(container.id, "no")
    await containers.stop(container.id, app.docker.stop_timeout)


async def bring_back(app: App, number: int, commit: str | None, containers: Containers, gateway: Gateway) -> None:
    """Start a container that is there and give it the traffic once it is ready. RolloutFailed when it does not get so."""
    if (found := await containers.find(app, number)) is not None:
        await containers.keep(found.id, "no")  # its end shall be one
    running = await containers.start(app, number)
    await containers.unless_ended(running, f"{app.name}/{number}", until_ready(running.address, app.ready, commit))
    await containers.keep(running.id, app.docker.restart)
    if await gateway.serving(app.name) != running.endpoint:
        await uninterrupted(gateway.switch(app.name, running.endpoint))
    await gateway.save()


async def _restore_alone(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> None:
    """What a deploy that was interrupted left running goes first: it may hold what `deploy` needs."""
    endpoint = await gateway.serving(app.name)
    others = [c for c in await containers.of(app) if c.number != deploy.number and c.endpoint is not None]
    for other in others:
        logger.warning("Stopping %s/%s, which cannot run beside %s", app.name, other.number, deploy.name)
        await stop_release(app, other, containers, gateway)
    try:
        await bring_back(app, deploy.number, deploy.commit, containers, gateway)
    except DeploydError:
        for served in (other for other in others if other.endpoint == endpoint):
            await _take_back(app, deploy, served, containers, gateway)
        raise


async def _take_back(app: App, deploy: Deploy, served: Held, containers: Containers, gateway: Gateway) -> None:
    try:
        if (failed := await containers.find(app, deploy.number)) is not None:
            await stop_release(app, failed, containers, gateway)
        await bring_back(app, served.number, None, containers, gateway)
    except DeploydError as exc:
        logger.error("The release %s/%s does not come back: %s", app.name, served.number, exc)
