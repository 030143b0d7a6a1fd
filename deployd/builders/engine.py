"""Builds with the Docker Engine's own (classic) builder, through its API: only the engine's socket is needed.

Each build has its own client; closing it cancels the build. The build's output alone is not trusted: a build has succeeded when
the engine, asked afterwards, has the image. What this builder cannot do is refused before anything is sent.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from deployd.builders.classic_output import ClassicOutput
from deployd.builders.dockerfile import Dockerfile, check, check_classic, parse
from deployd.builders.outcome import built_before, in_time
from deployd.builders.unnamed import UnnamedImages
from deployd.builders.upload import Upload, tar_of
from deployd.config.daemon import BuilderSection, Registry
from deployd.config.values import read_secret
from deployd.domain import Image
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.ports import BuildRequest, Context, Log

_logger = logging.getLogger(__name__)

_PERIOD_US = 100_000
_ANSWER_SECONDS = 5.0


class EngineBuilder:
    """Implements ports.Builder."""

    def __init__(
        self,
        settings: BuilderSection,
        state_dir: Path,
        registry: Registry | None = None,
        *,
        url: str | None = None,
    ) -> None:
        """`url`: the engine's address; by default DOCKER_HOST and Docker's usual places."""
        self._settings = settings
        self._registry = registry
        self._url = url
        self._unnamed = UnnamedImages(state_dir / "unnamed-images")

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """See ports.Builder. BuildFailed also after `builder.timeout`."""
        dockerfile = parse(context.instructions, context.dockerfile)
        check(dockerfile, request.app.build, request.args)
        check_classic(dockerfile, request.app.build, request.args)
        async with in_time(self._settings.timeout, log):
            return await self._build(request, dockerfile, context, log)

    async def find(self, request: BuildRequest) -> Image | None:
        """See ports.Builder."""
        async with self._engine() as engine:
            found = await engine.images.inspect(_name(request))
        return built_before(request, found)

    async def trim(self, limit_bytes: int) -> int:
        """See ports.Builder. The classic builder's cache is the unnamed images of stages; the newest of them stay. An unnamed
        image with our labels is not part of it: a later build took its name, and a release may need it, so `prune` removes it
        with the other images of its app. BuildKit's cache is not touched."""
        async with self._engine() as engine:
            return await self._trim_unnamed(engine, limit_bytes)

    async def ping(self) -> None:
        """Unavailable when the engine does not answer within five seconds."""
        async with self._engine(_ANSWER_SECONDS) as engine:
            await engine.ping()

    async def _build(self, request: BuildRequest, dockerfile: Dockerfile, context: Context, log: Log) -> Image:
        upload, output = Upload(context), ClassicOutput(log)
        image: Image | None = None
        # The classic builder takes a step for each label. A second build that sets all labels in one step is faster, but it would
        # run the image's ONBUILD instructions.
        separate = all(instruction.name != "ONBUILD" for instruction in dockerfile.instructions)
        try:
            async with upload.pieces() as pieces, self._engine() as engine:
                parameters = self._parameters(request, context, labelled=not separate)
                await self._run(engine, parameters, self._credentials(log), pieces, output)
                if separate:
                    await self._label(engine, request, output)
                image = await _built_image(engine, request, output)
                return image
        except Unavailable as exc:
            if upload.failure is not None:
                raise upload.failure from exc
            raise
        finally:
            if image is None and output.container is not None:
                await self._wait_until_gone(output.container)
            await self._remember(output, output.images[:-1] if image else [*output.images, output.layer])

    async def _run(
        self,
        engine: EngineClient,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        tar: AsyncIterator[bytes] | bytes,
        output: ClassicOutput,
    ) -> None:
        """Run one build. BuildFailed when the engine refuses it before its first step, for example a Dockerfile with an error."""
        try:
            async with engine.images.build(parameters, headers, tar) as build:
                output.began = output.began or build.began
                async for message in build.messages:
                    output.take(message)
        except Refused as refused:
            if refused.status >= 500:
                raise
            raise BuildFailed(refused.said) from refused

    async def _label(self, engine: EngineClient, request: BuildRequest, output: ClassicOutput) -> None:
        """Add all labels and the name to the image that was just built."""
        if not output.images:
            raise _no_image()
        base = output.images[-1]
        pairs = " ".join(f'{key}="{value}"' for key, value in request.image_labels.items())
        tar = tar_of(f"FROM {base}\nLABEL {pairs}\n")
        await self._run(engine, {"t": _name(request), "rm": "1", "forcerm": "1"}, {}, tar, output)
        output.images.remove(base)

    def _parameters(self, request: BuildRequest, context: Context, *, labelled: bool) -> dict[str, str]:
        wanted: dict[str, str | int | None] = {
            "dockerfile": context.dockerfile,
            "rm": 1,
            "forcerm": 1,
            "buildargs": json.dumps(dict(request.args)),
            "target": request.app.build.stage,
        }
        if labelled:
            wanted |= {"t": _name(request), "labels": json.dumps(dict(request.image_labels))}
        if self._settings.memory is not None:
            wanted |= {"memory": self._settings.memory, "memswap": self._settings.memory}
        if self._settings.cpus is not None:
            wanted |= {"cpuperiod": _PERIOD_US, "cpuquota": round(self._settings.cpus * _PERIOD_US)}
        return {key: str(value) for key, value in wanted.items() if value is not None}

    def _credentials(self, log: Log) -> dict[str, str]:
        registry = self._registry
        if registry is None or registry.username is None or registry.password is None:
            return {}
        password = read_secret(registry.password, "registry.password")
        log.hide(password)
        host = registry.url.partition("://")[2] or registry.url
        known = {host.split("/")[0]: {"username": registry.username, "password": password}}
        return {"X-Registry-Config": base64.urlsafe_b64encode(json.dumps(known).encode()).decode()}

    async def _wait_until_gone(self, container: str) -> None:
        """Wait until the engine has removed the container of an ended build. deployd does not remove it itself, since a build can
        print any container's id."""
        try:
            async with self._engine(_ANSWER_SECONDS) as engine:
                await engine.containers.until_removed(container)
        except Unavailable as exc:
            _logger.warning("Cannot wait for the removal of an ended build's container: %s", exc)

    async def _remember(self, output: ClassicOutput, left: Sequence[str | None]) -> None:
        """Record which unnamed images this build has left, so that only those are removed later."""
        began, names = output.began, [each for each in left if each]
        if began is None or not names:
            return
        try:
            async with self._engine(_ANSWER_SECONDS) as engine:
                found = [await engine.images.inspect(each) for each in names]
        except Unavailable as exc:
            _logger.warning("Cannot record which unnamed images a build left: %s", exc)
            return
        # An image older than the build came from the cache; another program may have made it.
        made = [each["Id"] for each in found if each and not each["RepoTags"] and _created(each) >= began]
        self._unnamed.add(made)

    async def _trim_unnamed(self, engine: EngineClient, limit_bytes: int) -> int:
        known = {each: await engine.images.inspect(each) for each in self._unnamed.all()}
        sizes = {each: int(found["Size"]) for each, found in known.items() if found and not found["RepoTags"]}
        gone = known.keys() - sizes.keys()
        excess, freed = sum(sizes.values()) - limit_bytes, 0
        if excess > 0:
            before = await engine.images.disk_used()
            for each, size in sizes.items():
                if excess > 0 and await engine.images.remove(each):
                    gone.add(each)
                    excess -= size
            freed = max(0, before - await engine.images.disk_used())
        self._unnamed.forget(gone)
        return freed

    @asynccontextmanager
    async def _engine(self, within: float | None = None) -> AsyncIterator[EngineClient]:
        """A client for one task, which may take `within` seconds. Unavailable, not ConfigError, without an engine: one may be
        started later."""
        try:
            engine = EngineClient(self._url)
        except ConfigError as exc:
            raise Unavailable(exc.message, hint=exc.hint) from exc
        async with engine:
            try:
                async with asyncio.timeout(within):
                    yield engine
            except TimeoutError as exc:
                raise Unavailable(f"the engine does not answer within {within or 0:g} s") from exc


async def _built_image(engine: EngineClient, request: BuildRequest, output: ClassicOutput) -> Image:
    """The image that this build made. Unavailable when the engine does not have it under its name."""
    found = await engine.images.inspect(_name(request))
    if found is None or not output.images or found["Id"] != output.images[-1]:
        raise _no_image()
    return Image(request.name, request.commit, found["Id"])


def _created(image: Mapping[str, Any]) -> datetime:
    # fromisoformat does not accept nanoseconds, and the engine's Date header has whole seconds anyway.
    return datetime.fromisoformat(image["Created"][:19] + "+00:00")


def _name(request: BuildRequest) -> str:
    return f"{request.name}:{request.commit}"


def _no_image() -> Unavailable:
    return Unavailable("the Docker Engine ended the build without an image", hint="was it restarted?")
