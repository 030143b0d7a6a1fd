"""Make a recorded release serve again: start its container, or create a new one from its image.

For an app that cannot run twice, its other containers are stopped first.
"""

import logging
from contextlib import suppress

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.errors import DeploydError, RolloutFailed
from deployd.gateway.gateway import Gateway
from deployd.probe import headers_of, until_ready
from deployd.targets.docker.container import AppContainer, ContainerRemoved
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.drain import until_empty
from deployd.tasks import uninterrupted

logger = logging.getLogger(__name__)

# A container that somebody is removing is made again.
_TRIES = 3


async def restore(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> bool:
    """Make `deploy` serve again; whether a new container was made.

    RolloutFailed when neither its container nor its image is left, or when it does not get ready: then the release that served
    before continues to serve.
    """
    for _ in range(_TRIES):
        with suppress(ContainerRemoved):
            return await _restore(app, deploy, containers, gateway)
    raise RolloutFailed("somebody removes its container again and again")


async def _restore(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> bool:
    if made := not await containers.repair(app, deploy):
        if deploy.image is None:
            raise RolloutFailed(f"{deploy.name} no longer has a container or an image", hint="deploy its commit again")
        await uninterrupted(containers.make(app, deploy, deploy.image))
    if app.docker.start == "stop-first":
        await _restore_stop_first(app, deploy, containers, gateway)
    else:
        await start_and_switch(app, deploy.number, deploy.commit, containers, gateway)
    return made


async def stop_release(app: App, container: AppContainer, containers: Containers, gateway: Gateway) -> None:
    """Stop a container that may serve, after it has finished its requests. It is not removed, so that it can be started again."""
    if container.endpoint is not None and container.endpoint == await gateway.serving(app.name):
        await gateway.stop_traffic(app.name)
    if container.endpoint is not None:
        await until_empty(app, container.endpoint, gateway)
    await containers.set_restart_policy(container.id, "no")
    await containers.stop(container.id, app.docker.stop_timeout)


async def start_and_switch(app: App, number: int, commit: str | None, containers: Containers, gateway: Gateway) -> None:
    """Start an existing container and switch the traffic to it once it is ready. RolloutFailed when it does not get ready."""
    if (found := await containers.find(app, number)) is None:
        raise RolloutFailed(f"{app.name}/{number} no longer has a container", hint="deploy its commit again")
    await containers.set_restart_policy(found.id, "no")  # so that a crash ends it for good and is seen
    running = await containers.start(app, number, found.id)
    headers = headers_of(app, secure=gateway.secure)
    ready = until_ready(running.address, app.ready, commit, headers)
    await containers.while_running(running, f"{app.name}/{number}", ready)
    await containers.set_restart_policy(running.id, app.docker.restart)
    if await gateway.serving(app.name) != running.endpoint:
        await uninterrupted(gateway.switch(app.name, running.endpoint))
    await gateway.save()


async def _restore_stop_first(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> None:
    """Stop all other containers first: they may use what `deploy` needs."""
    endpoint = await gateway.serving(app.name)
    others = [c for c in await containers.of(app) if c.number != deploy.number and c.endpoint is not None]
    for other in others:
        logger.warning("Stopping %s/%s, which cannot run beside %s", app.name, other.number, deploy.name)
        await stop_release(app, other, containers, gateway)
    try:
        await start_and_switch(app, deploy.number, deploy.commit, containers, gateway)
    except DeploydError:
        for served in (other for other in others if other.endpoint == endpoint):
            await _restore_previous(app, deploy, served, containers, gateway)
        raise


async def _restore_previous(
    app: App, deploy: Deploy, served: AppContainer, containers: Containers, gateway: Gateway
) -> None:
    try:
        if (failed := await containers.find(app, deploy.number)) is not None:
            await stop_release(app, failed, containers, gateway)
        await start_and_switch(app, served.number, None, containers, gateway)
    except DeploydError as exc:
        logger.error("The release %s/%s cannot be restored: %s", app.name, served.number, exc)
