"""What people ask of a running container: its output, a command beside it, a file in it, a description."""

import posixpath
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiodocker

from deployd.engine import connect, inspect, translated
from deployd.targets.docker.containers import Held


async def printed(docker: aiodocker.Docker, container_id: str, tail: int | None) -> list[bytes]:
    """The last `tail` lines (None: all) of standard output and error."""
    with translated("reading the container's output"):
        lines = await docker.containers.container(container_id).log(stdout=True, stderr=True, tail=_lines(tail))
    return [line.encode() for line in lines]


async def follow(docker_url: str | None, container_id: str, tail: int | None) -> AsyncGenerator[bytes, None]:
    """The same, and then what comes as it comes, until the container ends."""
    docker = connect(docker_url)  # of its own: the client does not close what is left in the middle
    try:
        with translated("following the container's output"):
            container = docker.containers.container(container_id)
            async for line in container.log(stdout=True, stderr=True, follow=True, tail=_lines(tail)):
                yield line.encode()
    finally:
        await docker.close()


async def execute(
    docker: aiodocker.Docker, container_id: str, command: Sequence[str], out: Callable[[bytes], Awaitable[None]]
) -> int:
    """Run a command in the container; its exit code."""
    with translated("running the command"):
        made = await docker.containers.container(container_id).exec(list(command))
        async with made.start() as stream:
            while (message := await stream.read_out()) is not None:
                await out(message.data)
        return int((await made.inspect())["ExitCode"] or 0)


async def read(docker: aiodocker.Docker, container_id: str, path: str) -> bytes | None:
    """A file of the container, by its path from the working directory; None when it is not there."""
    with translated(f"reading {path}"):
        found = await inspect(docker, container_id)
        if found is None:
            return None
        directory = found["Config"]["WorkingDir"] or "/"
        try:
            archive = await docker.containers.container(container_id).get_archive(posixpath.join(directory, path))
        except aiodocker.DockerError as exc:
            if exc.status == 404:
                return None
            raise
    with archive:
        member = archive.next()
        file = archive.extractfile(member) if member is not None and member.isfile() else None
        return file.read() if file is not None else None


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


def _lines(tail: int | None) -> str:
    return "all" if tail is None else str(tail)
