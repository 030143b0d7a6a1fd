"""The engine's events about what is ours: whenever a container starts or dies, somebody looks whether all is well.

An event stream that breaks is opened again, at a growing pace; what happened in between is covered by looking once more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployd.engine import connect, translated
from deployd.errors import DeploydError, Unavailable

logger = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


async def watch(docker_url: str | None, instance: str, settle: Callable[[], Awaitable[None]]) -> None:
    """Call `settle` at once and after every event, until cancelled."""
    failures = 0
    while True:
        try:
            await settle()
            failures = 0
            await _follow(docker_url, instance, settle)
        except DeploydError as exc:
            logger.warning("The engine cannot be watched: %s", exc)
        await asyncio.sleep(_PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)])
        failures += 1


async def _follow(docker_url: str | None, instance: str, settle: Callable[[], Awaitable[None]]) -> None:
    """Returns when the stream ends; raises what `settle` raises."""
    docker = connect(docker_url)
    try:
        with translated("watching the engine"):
            events = docker.events.subscribe(  # type: ignore[no-untyped-call]
                filters=f'{{"label":["io.deployd.instance={instance}"],"type":["container"],"event":["start","die","destroy"]}}'
            )
            while await events.get() is not None:
                await settle()
        raise Unavailable("the engine's events ended")
    finally:
        await docker.close()
