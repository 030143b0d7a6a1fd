"""The end of a container that served: no new requests, those in progress finish, then it is stopped and removed.

HAProxy gives no event when a server is empty, so it is asked, at a modest pace.
"""

import asyncio
import time

from deployd.config.app import App
from deployd.gateway.gateway import Gateway
from deployd.gateway.slots import Endpoint
from deployd.ports import Log
from deployd.targets.docker.containers import Containers, Held
from deployd.targets.docker.spec import container_name

_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5)


async def drain(app: App, container: Held, containers: Containers, gateway: Gateway, log: Log) -> None:
    """Let one container finish and go. Idempotent: cancelled half-way, it is simply asked again."""
    name, endpoint, began = container_name(app.name, container.number), container.endpoint, time.monotonic()
    if endpoint is not None and gateway.has_slot(app.name, endpoint):
        left = await emptied(app, endpoint, gateway)
        limit = f", {left} requests were still in progress after {app.docker.drain:g} s" if left else ""
        await gateway.release(app.name, endpoint)
        await containers.stop(container.id, app.docker.stop_timeout)
        log.write(f"{name} drained and stopped in {time.monotonic() - began:.1f} s{limit}\n")
    await containers.remove(container.id)
    log.write(f"{name} is removed\n")


async def emptied(app: App, endpoint: Endpoint, gateway: Gateway) -> int:
    """Until no request is in progress at `endpoint`, or the app's drain limit has passed; the number still in progress."""
    deadline, asked = time.monotonic() + app.docker.drain, 0
    while left := (await gateway.sessions(app.name)).get(endpoint, 0):
        if time.monotonic() >= deadline:
            break
        await asyncio.sleep(_PAUSES_SECONDS[min(asked, len(_PAUSES_SECONDS) - 1)])
        asked += 1
    return left
