"""What people ask of a running container: its output as it comes, a file in it, a description."""

import posixpath
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from deployd.engine.client import EngineClient
from deployd.targets.docker.containers import Held


async def follow(docker_url: str | None, container_id: str, tail: int | None) -> AsyncGenerator[bytes, None]:
    """The last `tail` lines (None: all) of standard output and error, and then what comes, until the container ends."""
    async with EngineClient(docker_url) as engine:  # of its own: only closing it ends what is left in the middle
        async for piece in engine.containers.printing(container_id, tail):
            yield piece.encode()


async def read(engine: EngineClient, container_id: str, path: str) -> bytes | None:
    """A file of the container, by its path from the working directory; None when it is not there."""
    if (found := await engine.containers.inspect(container_id)) is None:
        return None
    return await engine.containers.read(container_id, posixpath.join(found["Config"]["WorkingDir"] or "/", path))


def description(inspected: Mapping[str, Any], container: Held, sessions: int) -> dict[str, Any]:
    """One container for a person."""
    state = inspected["State"]
    return {
        "name": inspected["Name"].removeprefix("/"),
        "id": container.id[:12],
        "deploy": container.number,
        "image": inspected["Image"],
        "address": str(container.endpoint) if container.endpoint else None,
        "status": state["Status"],
        "started_at": state["StartedAt"],
        "restarts": inspected["RestartCount"],
        "requests_in_progress": sessions,
        "labels": inspected["Config"]["Labels"],
    }
