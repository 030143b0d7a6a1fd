"""The Docker Engine's client and what its errors mean here; the gateway and the targets share it.

An engine that does not answer is Unavailable; what it refuses is whatever the caller says a refusal means.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiodocker
from aiohttp import ClientError, ClientTimeout

from deployd.errors import ConfigError, DeploydError, Unavailable

_NO_CONNECTION = 900  # aiodocker's own status when nothing answers at the socket


def connect(url: str | None) -> aiodocker.Docker:
    """A client of the engine at `url` (None: DOCKER_HOST, the docker context or the usual sockets); closed by its owner."""
    try:
        return aiodocker.Docker(url, timeout=ClientTimeout(total=120, sock_connect=5))
    except (ValueError, AssertionError, aiodocker.DockerError) as exc:
        raise ConfigError("no Docker Engine was found", hint="start one, or point DOCKER_HOST at it") from exc


async def request(docker: aiodocker.Docker, path: str, method: str = "GET", **options: Any) -> Any:
    """One call of the Engine API that answers JSON, for what the client has no method for."""
    return await docker._query_json(path, method, **options)  # noqa: SLF001 - its only way to a call of one's own


async def inspect(docker: aiodocker.Docker, container: str) -> dict[str, Any] | None:
    """A container by name or id as the engine describes it, None when it is not there."""
    try:
        found: dict[str, Any] = await request(docker, f"containers/{container}/json")
    except aiodocker.DockerError as exc:
        if exc.status == 404:
            return None
        raise
    return found


async def containers(docker: aiodocker.Docker, labels: Mapping[str, str], **filters: str) -> list[dict[str, Any]]:
    """The containers, running or not, that carry all of `labels`, as the engine lists them."""
    wanted = {
        "label": [f"{key}={value}" for key, value in labels.items()],
        **{key: [value] for key, value in filters.items()},
    }
    found: list[dict[str, Any]] = await request(
        docker, "containers/json", params={"all": "1", "filters": json.dumps(wanted)}
    )
    return found


async def delete(docker: aiodocker.Docker, container: str) -> None:
    """Remove a container, running or not, with its anonymous volumes; done when it is gone, whoever removed it."""
    try:
        await _remove(docker.containers.container(container))
    except aiodocker.DockerError as exc:
        if exc.status != 404:
            raise


async def _remove(container: aiodocker.containers.DockerContainer) -> None:
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as exc:
        if exc.status != 409:
            raise
        await container.wait(condition="removed")  # somebody else removes it already


async def events(docker: aiodocker.Docker, filters: Mapping[str, list[str]]) -> AsyncIterator[bytes]:
    """What happens on the engine from now on, a JSON line an event; ends when the engine ends it."""
    options: dict[str, Any] = {
        "params": {"filters": json.dumps(filters)},
        "timeout": ClientTimeout(total=None, sock_connect=5),
    }
    async with docker._query("events", **options) as response:  # noqa: SLF001 - its own reader hides how a stream ends
        try:
            async for line in response.content:
                yield line
        finally:
            response.close()


@contextmanager
def translated(doing: str, refused: type[DeploydError] = Unavailable) -> Iterator[None]:
    """Turn the client's errors into ours: `doing` (as in "starting iris/4") is named, a refusal becomes `refused`."""
    try:
        yield
    except aiodocker.DockerError as exc:
        kind = Unavailable if exc.status == _NO_CONNECTION else refused
        raise kind(f"{doing}: {exc.message}") from exc
    except TimeoutError as exc:
        raise Unavailable(f"{doing}: the engine does not answer in time") from exc
    except (ClientError, OSError) as exc:
        raise Unavailable(f"{doing}: the engine does not answer: {exc}") from exc
