"""The calls of the Engine API about images: find, pull, push, build, remove. What does not exist is None, or counts as done."""

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import ClientResponse, ClientTimeout

from deployd.engine.connection import ENDLESS, Connection, Refused
from deployd.engine.stream import Message, fault_in
from deployd.errors import Unavailable

_BUILD = ClientTimeout(total=None, sock_connect=10)
_LONGEST_MESSAGE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Build:
    """A build in progress: its start by the engine's clock, and its messages."""

    began: datetime
    messages: AsyncIterator[Message]


class EngineImages:
    """All images on one engine, not only ours."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def inspect(self, image: str) -> dict[str, Any] | None:
        """The engine's description of an image, by name or id; None when it does not exist."""
        found: dict[str, Any] | None = await self._connection.find(f"looking for {image}", f"images/{image}/json")
        return found

    async def list(self, **filters: Sequence[str]) -> Sequence[dict[str, Any]]:
        """The images that match all filters. The descriptions are shorter than those of `inspect`."""
        query = {"filters": json.dumps(filters)}
        found: list[dict[str, Any]] = await self._connection.ask("looking for images", "images/json", query=query)
        return found

    async def all(self) -> Sequence[dict[str, Any]]:
        """All images, also the unnamed layers of builds; with `ParentId`."""
        query = {"all": "1"}
        found: list[dict[str, Any]] = await self._connection.ask("looking for images", "images/json", query=query)
        return [image | {"ParentId": _whole(image["ParentId"])} for image in found]

    async def history(self, image: str) -> Sequence[dict[str, Any]]:
        """The layers of an image, the last one first; those that were pulled have no id, and Podman's ids are wrong. Empty when
        it does not exist."""
        found = await self._connection.find(f"looking for {image}", f"images/{image}/history")
        return found or []

    async def can_be_pulled(self, image: str) -> None:
        """Ask the registry for the image without pulling it. Refused with the registry's reason."""
        await self._connection.ask("asking the registry", f"distribution/{image}/json")

    async def pull(self, image: str, credentials: tuple[str, str] | None = None) -> None:
        """Pull it from its registry. Refused with the registry's reason."""
        named = "@" in image or ":" in image.rpartition("/")[2]
        query = {"fromImage": image if named else f"{image}:latest"}  # without a tag, the engine would pull all of them
        async for _ in self._transfer(f"pulling {image}", "images/create", query, image, credentials):
            pass

    async def ensure(self, image: str) -> str:
        """Its id. It is pulled when the engine does not have it."""
        if (found := await self.inspect(image)) is None:
            await self.pull(image)
            found = await self.inspect(image)
        if found is None:
            raise Unavailable(f"the image {image} was pulled, but the engine does not have it")
        return str(found["Id"])

    async def push(
        self, name: str, tag: str, credentials: tuple[str, str] | None, *, insecure: bool = False
    ) -> AsyncGenerator[Message]:
        """Push it to its registry; the engine's messages. Refused with the registry's reason. `insecure`: by plain http, if it
        has no TLS; a Docker Engine goes by its own list of such registries."""
        doing, path = f"pushing {name}:{tag}", f"images/{name}/push"
        query = {"tag": tag, **({"tlsVerify": "false"} if insecure else {})}  # Podman's
        async for message in self._transfer(doing, path, query, name, credentials):
            yield message

    async def _transfer(
        self, doing: str, path: str, query: Mapping[str, str], name: str, credentials: tuple[str, str] | None
    ) -> AsyncGenerator[Message]:
        """aiodocker's own methods expect `message` in every error, which Podman's have not, and lose a broken connection."""
        headers = {"X-Registry-Auth": _auth(name, credentials)}
        async with self._connection.open(doing, path, "POST", query=query, headers=headers, timeout=ENDLESS) as answer:
            async for message in _messages(answer):
                if reason := fault_in(message):
                    raise Refused(doing, reason, 0)
                yield message

    @asynccontextmanager
    async def build(
        self, query: Mapping[str, str], headers: Mapping[str, str], tar: AsyncIterable[bytes] | bytes
    ) -> AsyncIterator[Build]:
        """Start a build. Refused when it fails before its first step. To cancel it, close the engine's client.

        aiodocker's own build method has no stage, limits or credentials, reads its tar on the loop, and takes a broken
        connection for the end of the answer.
        """
        sent = {"Content-Type": "application/x-tar", **headers}
        async with self._connection.open(
            "building", "build", "POST", query=query, data=tar, headers=sent, timeout=_BUILD
        ) as answer:
            yield Build(parsedate_to_datetime(answer.headers["Date"]), _messages(answer))

    async def remove(self, image: str) -> frozenset[str]:
        """Remove a name, or an image by its id; the ids of what is gone with it. Refused with 409 when something needs it.

        The unnamed layers below it stay (noprune): a build that runs now, ours or not, may build on one of them.
        """
        query = f"images/{image}?noprune=1"
        done = await self._connection.find(f"removing {image}", query, "DELETE") or []
        return frozenset(str(each["Deleted"]) for each in done if "Deleted" in each)


def _whole(image_id: str) -> str:
    """Podman leaves the algorithm out of the id of a parent."""
    return f"sha256:{image_id}" if image_id and ":" not in image_id else image_id


def _auth(name: str, credentials: tuple[str, str] | None) -> str:
    """The header with the credentials for the registry of an image. Engines want one without any, too."""
    user, password = credentials or ("", "")
    known = {"username": user, "password": password, "serveraddress": name.partition("/")[0]} if credentials else {}
    return base64.urlsafe_b64encode(json.dumps(known).encode()).decode()


async def _messages(answer: ClientResponse) -> AsyncIterator[Message]:
    rest = b""
    async for piece in answer.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
        if len(rest) > _LONGEST_MESSAGE:
            raise Unavailable("the Docker Engine sends a message that is too long")
