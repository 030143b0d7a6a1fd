"""Drain a container that served: it gets no new requests, finishes those in progress, and is then stopped and removed.

HAProxy sends no event when a server has no more requests, so deployd asks it repeatedly.
"""

import asyncio
import time

from deployd.config.app import App
from deployd.gateway.gateway import Gateway
from deployd.gateway.slots import Endpoint
from deployd.ports.log import Log
from deployd.targets.docker.container import AppContainer
from deployd.targets.docker.containers import Containers

_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5)


async def drain(app: App, container: AppContainer, containers: Containers, gateway: Gateway, log: Log) -> None:
    """Drain, stop and remove one container. Idempotent: after a cancellation, it can be called again."""
    name, endpoint, began = container.name, container.endpoint, time.monotonic()
    if endpoint is not None and gateway.has_slot(app.name, endpoint):
        left = await until_empty(app, endpoint, gateway)
        limit = f", {left} requests were still in progress after {app.docker.drain:g} s" if left else ""
        await gateway.release(app.name, endpoint)
        await containers.stop(container.id, app.docker.stop_timeout)
        log.write(f"{name} drained and stopped in {time.monotonic() - began:.1f} s{limit}\n")
    await containers.remove(container.id, name)
    log.write(f"{name} was removed\n")


async def until_empty(app: App, endpoint: Endpoint, gateway: Gateway) -> int:
    """Wait until no request is in progress at `endpoint`, at most for the app's drain time; the number still in progress."""
    deadline, asked = time.monotonic() + app.docker.drain, 0
    while left := (await gateway.sessions(app.name)).get(endpoint, 0):
        if time.monotonic() >= deadline:
            break
        await asyncio.sleep(_PAUSES_SECONDS[min(asked, len(_PAUSES_SECONDS) - 1)])
        asked += 1
    return left
