"""The output, files and description of a running container."""

import posixpath
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from deployd.engine.client import EngineClient
from deployd.targets.docker.container import AppContainer


async def follow(
    docker_url: str | None, container_id: str, tail: int | None, since: datetime | None
) -> AsyncGenerator[bytes, None]:
    """Standard output and error, as EngineContainers.printing: the present lines, then new ones until the container ends."""
    async with EngineClient(docker_url) as engine:  # a client of its own: only closing it ends an unfinished stream
        async for piece in engine.containers.printing(container_id, tail, since):
            yield piece.encode()


async def read(engine: EngineClient, container_id: str, path: str) -> bytes | None:
    """A file of the container, by its path from the working directory; None when it does not exist."""
    if (found := await engine.containers.inspect(container_id)) is None:
        return None
    return await engine.containers.read(container_id, posixpath.join(found["Config"]["WorkingDir"] or "/", path))


def description(inspected: Mapping[str, Any], container: AppContainer, sessions: int) -> dict[str, Any]:
    """The description of one container, for a person."""
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
