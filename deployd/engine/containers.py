"""The calls of the Engine API about containers, each by the container's name or id. What does not exist is None or done."""

import json
import tarfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any

from deployd.engine import podman
from deployd.engine.connection import ENDLESS, Connection, Exec, Refused, Stream, translated, unless_gone
from deployd.tasks import beside, uninterrupted
from deployd.terminal import Size, Terminal

Described = dict[str, Any]
"""A container as the engine describes it."""


class EngineContainers:
    """All containers on one engine, not only ours."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def inspect(self, container: str) -> Described | None:
        """The engine's description of it; None when it does not exist."""
        found: Described | None = await self._connection.find(f"looking at {container}", f"containers/{container}/json")
        return found

    async def list(self, labels: Mapping[str, str], **filters: str) -> Sequence[Described]:
        """The containers, running or stopped, with all of `labels`; their descriptions are shorter than in `inspect`."""
        wanted = {
            "label": [f"{key}={value}" for key, value in labels.items()],
            **{key: [value] for key, value in filters.items()},
        }
        query = {"all": "1", "filters": json.dumps(wanted)}
        found: list[Described] = await self._connection.ask("looking for containers", "containers/json", query=query)
        return found

    async def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """Create one without starting it; its id. Refused: 404 when its image is missing, 409 when its name is in use."""
        if await self._connection.is_podman():
            await uninterrupted(self._require_paths(name, spec))
            spec = podman.heeded(spec)
        doing, query = f"making {name}", {"name": name}
        try:
            made = await self._connection.ask(doing, "containers/create", "POST", query=query, body=spec)
        except Refused as refused:
            if podman.IN_USE in refused.said:
                raise Refused(doing, refused.said, 409) from refused
            raise
        return str(made["Id"])

    async def _require_paths(self, name: str, spec: Mapping[str, Any]) -> None:
        """Refused when a path of the host that it mounts is not there. Podman would make a directory of it, but refuses the same
        container in its own API."""
        if (body := podman.mounting(name, spec)) is None:
            return
        try:
            made = await self._connection.ask(f"making {name}", "libpod/containers/create", "POST", body=body)
        except Refused as refused:
            if podman.NO_PATH in refused.said:
                raise
        else:
            await self.remove(str(made["Id"]))

    async def start(self, container: str) -> None:
        """Start it, unless it runs."""
        await self._connection.ask(f"starting {container}", f"containers/{container}/start", "POST")

    async def stop(self, container: str, within: int | None = None) -> None:
        """Send SIGTERM, and SIGKILL after `within` seconds (None: the container's own timeout). Done when it is stopped."""
        query = "" if within is None else f"?t={within}"
        await self._connection.find(
            f"stopping {container}", f"containers/{container}/stop{query}", "POST", timeout=ENDLESS
        )

    async def unpause(self, container: str) -> None:
        """Let it go on."""
        await self._connection.ask(f"letting {container} go on", f"containers/{container}/unpause", "POST")

    async def kill(self, container: str, signal: str) -> None:
        """Send it a signal."""
        query = {"signal": signal}
        await self._connection.ask(
            f"sending {signal} to {container}", f"containers/{container}/kill", "POST", query=query
        )

    async def rename(self, container: str, name: str) -> None:
        """Give it another name."""
        await self._connection.ask(
            f"renaming {container} to {name}", f"containers/{container}/rename", "POST", query={"name": name}
        )

    async def update(self, container: str, settings: Mapping[str, Any]) -> None:
        """Change its restart policy or its limits while it runs."""
        await self._connection.ask(f"changing {container}", f"containers/{container}/update", "POST", body=settings)

    async def remove(self, container: str) -> None:
        """Remove it, running or stopped, with its anonymous volumes. Returns when it no longer exists."""
        doing, path = f"removing {container}", f"containers/{container}"
        try:
            await self._connection.find(doing, f"{path}?force=1&v=1", "DELETE")
        except Refused as refused:
            if refused.status != 409:
                raise
            await self.until_removed(container)  # it is being removed already

    async def until_ended(self, container: str) -> None:
        """Wait until it does not run or no longer exists."""
        await self._connection.find(
            f"waiting for the end of {container}", f"containers/{container}/wait", "POST", timeout=ENDLESS
        )

    async def until_removed(self, container: str) -> None:
        """Wait until it has been removed."""
        doing, path = f"waiting for the removal of {container}", f"containers/{container}/wait?condition=removed"
        await self._connection.find(doing, path, "POST", timeout=ENDLESS)

    async def printed(self, container: str, tail: int | None = None, since: datetime | None = None) -> str:
        """Its standard output and error: of the lines `since` then (None: since its start) the last `tail` (None: all)."""
        doing, last, begin = f"reading the output of {container}", _tail(tail), _since(since)
        with translated(doing):
            log = self._connection.client.containers.container(container).log
            return "".join(await log(stdout=True, stderr=True, tail=last, since=begin))

    async def printing(
        self, container: str, tail: int | None = None, since: datetime | None = None
    ) -> AsyncGenerator[str]:
        """Its output as in `printed`, then new output as it comes, until the container ends. To stop earlier, close the engine's
        client."""
        doing, last, begin = f"following the output of {container}", _tail(tail), _since(since)
        with translated(doing):
            log = self._connection.client.containers.container(container).log
            async for piece in log(stdout=True, stderr=True, follow=True, tail=last, since=begin):
                yield piece

    async def execute(
        self,
        container: str,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        """Run a command in it, at a terminal if one is given; its exit code."""
        at_one = terminal is not None
        with translated(f"running a command in {container}"):
            one = self._connection.client.containers.container(container)
            made = await one.exec(list(command), stdin=at_one, tty=at_one)
            async with made.start() as stream, beside(*([_pass_on(terminal, made, stream)] if terminal else [])):
                while (message := await stream.read_out()) is not None:
                    await out(message.data)
            return int((await made.inspect())["ExitCode"] or 0)

    async def read(self, container: str, path: str) -> bytes | None:
        """A file in it; None when there is no file at that path."""
        doing, query = f"reading {path} in {container}", {"path": path}
        with unless_gone():
            async with self._connection.open(doing, f"containers/{container}/archive", query=query) as answer:
                return _first_file(await answer.read())
        return None


def _first_file(packed: bytes) -> bytes | None:
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member is not None and member.isfile() else None
        return file.read() if file is not None else None


async def _pass_on(terminal: Terminal, command: Exec, stream: Stream) -> None:
    while True:
        what = await terminal.next()
        if isinstance(what, Size):
            await command.resize(h=what.rows, w=what.columns)
        else:
            await stream.write_in(what)


def _tail(lines: int | None) -> str:
    return "all" if lines is None else str(lines)


def _since(moment: datetime | None) -> str:
    return "0" if moment is None else f"{moment.timestamp():.6f}"
