"""Builds with the Docker Engine's own (classic) builder, through its API: only the engine's socket is needed.

Each build has its own client; closing it cancels the build. The build's output alone is not trusted: a build has succeeded when
the engine, asked afterwards, has the image. What this builder cannot do is refused before anything is sent.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployd.builders import images, podman
from deployd.builders.bases import login_for, pull_all
from deployd.builders.classic_output import ClassicOutput
from deployd.builders.dockerfile import Dockerfile, bases, check, check_classic, parse, stage
from deployd.builders.outcome import in_time
from deployd.builders.unfinished import UnfinishedBuild, UnfinishedBuilds
from deployd.builders.unnamed import UnnamedImages
from deployd.builders.upload import Upload, tar_of
from deployd.config.daemon import BuilderSection, Registry
from deployd.config.values import read_secret
from deployd.domain import Base, Image
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.engine.images import Build
from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.ports.builder import BuildRequest, Present, Removal
from deployd.ports.log import Log
from deployd.ports.source import Context

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
        """`url`: the engine's address; by default the one that the docker client would use."""
        self._settings = settings
        self._registry = registry
        self._url = url
        self._unnamed = UnnamedImages(state_dir / "unnamed-images")
        self._unfinished = UnfinishedBuilds(state_dir / "unfinished-builds")
        self._building = 0
        self._trimming = asyncio.Lock()

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """See ports.Builder. BuildFailed also after `builder.timeout`."""
        dockerfile = parse(context.instructions, context.dockerfile)
        check(dockerfile, request.app.build, request.args)
        check_classic(dockerfile, request.app.build, request.args)
        async with self._trimming:
            self._building += 1
        try:
            async with in_time(self._settings.timeout, log):
                return await self._build(request, dockerfile, context, log)
        finally:
            self._building -= 1

    async def find(self, image: Image) -> Present | None:
        """See ports.Builder."""
        async with self._engine() as engine:
            return await images.find(engine, image)

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        """See ports.Builder."""
        async with self._engine() as engine:
            return await images.layers(engine, image)

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        """See ports.Builder."""
        async with self._engine() as engine:
            return await images.remove(engine, image, dry_run=dry_run)

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        """See ports.Builder. The classic builder's cache is the unnamed layers of builds; only those that our builds made go, the
        oldest first. BuildKit's cache is not touched. While a build runs, nothing goes: it may build on any layer."""
        async with self._trimming, self._engine() as engine:
            if self._building:
                return 0
            await self._settle(engine)
            return await images.trim(engine, self._unnamed, limit_bytes, dry_run=dry_run)

    async def ping(self) -> None:
        """Unavailable when the engine does not answer within five seconds."""
        async with self._engine(_ANSWER_SECONDS) as engine:
            await engine.ping()

    async def _build(self, request: BuildRequest, dockerfile: Dockerfile, context: Context, log: Log) -> Image:
        upload, output, unfinished = Upload(context), ClassicOutput(log), self._unfinished.new()
        image: Image | None = None
        # The classic builder takes a step for each label. A second build that sets all labels in one step is faster, but it would
        # run the image's ONBUILD instructions.
        separate = all(instruction.name != "ONBUILD" for instruction in dockerfile.instructions)
        try:
            async with upload.pieces() as pieces, self._engine() as engine:
                if await engine.is_podman():
                    request = _for_podman(request, dockerfile, log)
                names = bases(dockerfile, request.args)
                if request.pull:
                    await pull_all(names, partial(self._pull, engine, log), log)
                parameters = self._parameters(
                    request, context, stage(dockerfile, request.app.build), labelled=not separate
                )
                await self._run(engine.images.build(parameters, self._credentials(log), pieces), output, unfinished)
                if separate:
                    await self._label(engine, request, output, unfinished)
                image = await _built_image(engine, request, output, await _bases(engine, names))
                return image
        except Unavailable as exc:
            if upload.failure is not None:
                raise upload.failure from exc
            raise
        finally:
            if image is None and output.container is not None:
                await self._wait_until_gone(output.container)
            if image is None and output.podman and not output.failed:
                log.write("Podman cannot stop a build: it goes on until its present step has ended\n")
            await self._remember(output, unfinished, ended=image is not None or output.failed)

    async def _run(
        self, build: AbstractAsyncContextManager[Build], output: ClassicOutput, unfinished: UnfinishedBuild
    ) -> None:
        """Run one build. BuildFailed when the engine refuses it before its first step, for example a Dockerfile with an error."""
        try:
            async with build as running:
                output.began = output.began or running.began
                async for message in running.messages:
                    output.take(message)
                    unfinished.note(output.began.timestamp(), output.told, output.container, output.cached)
        except Refused as refused:
            if refused.status >= 500:
                raise
            raise BuildFailed(refused.said) from refused

    async def _label(
        self, engine: EngineClient, request: BuildRequest, output: ClassicOutput, unfinished: UnfinishedBuild
    ) -> None:
        """Add all labels and the name to the image that was just built."""
        if not output.images:
            raise _no_image()
        base = output.images[-1]
        pairs = " ".join(f'{key}="{value}"' for key, value in request.image_labels.items())
        tar = tar_of(f"FROM {base}\nLABEL {pairs}\n")
        build = engine.images.build({"t": request.full_name, "rm": "1", "forcerm": "1"}, {}, tar)
        await self._run(build, output, unfinished)
        output.images.remove(base)

    def _parameters(
        self, request: BuildRequest, context: Context, target: str | None, *, labelled: bool
    ) -> dict[str, str]:
        wanted: dict[str, str | int | None] = {
            "dockerfile": context.dockerfile,
            "rm": 1,
            "forcerm": 1,
            "nocache": 1 if request.fresh else None,
            "buildargs": json.dumps(dict(request.args)),
            "target": target,
        }
        if labelled:
            wanted |= {"t": request.full_name, "labels": json.dumps(dict(request.image_labels))}
        if self._settings.memory is not None:
            wanted |= {"memory": self._settings.memory, "memswap": self._settings.memory}
        if self._settings.cpus is not None:
            wanted |= {"cpuperiod": _PERIOD_US, "cpuquota": round(self._settings.cpus * _PERIOD_US)}
        return {key: str(value) for key, value in wanted.items() if value is not None}

    def _credentials(self, log: Log) -> dict[str, str]:
        registry, password = self._registry, self._password(log)
        if registry is None or registry.username is None or password is None:
            return {}
        known = {registry.prefix.split("/")[0]: {"username": registry.username, "password": password}}
        return {"X-Registry-Config": base64.urlsafe_b64encode(json.dumps(known).encode()).decode()}

    def _password(self, log: Log) -> str | None:
        if self._registry is None or self._registry.password is None:
            return None
        password = read_secret(self._registry.password, "registry.password")
        log.hide(password)
        return password

    async def _wait_until_gone(self, container: str) -> None:
        """Wait until the engine has removed the container of an ended build. deployd does not remove it itself, since a build can
        print any container's id."""
        try:
            async with self._engine(_ANSWER_SECONDS) as engine:
                await engine.containers.until_removed(container)
        except Unavailable as exc:
            _logger.warning("Cannot wait for the removal of an ended build's container: %s", exc)

    async def _remember(self, output: ClassicOutput, unfinished: UnfinishedBuild, *, ended: bool) -> None:
        """Record which unnamed layers this build has left, so that only those are removed later. What a build that was cut off
        still makes is recorded by the next `trim`."""
        if output.began is None or not output.told:
            return
        try:
            async with self._engine(_ANSWER_SECONDS) as engine:
                began = output.began.timestamp()
                self._unnamed.add(await images.left(engine, output.told, output.cached, began))
        except Unavailable as exc:
            _logger.warning("Cannot record which unnamed layers a build left: %s", exc)
            return
        if ended:
            unfinished.settled()

    async def _settle(self, engine: EngineClient) -> None:
        """Record the layers of the builds that were cut off: by a kill, a cancellation, or an engine that went away.

        One whose present step the engine has not ended is left to the next time: that step may still make a layer."""
        for build in self._unfinished.all():
            if build.container is not None and await engine.containers.inspect(build.container) is not None:
                continue
            if build.began is not None:
                self._unnamed.add(await images.left_by_cut(engine, build.told, build.cached, build.began))
            build.settled()

    async def _pull(self, engine: EngineClient, log: Log, name: str) -> None:
        before = await engine.images.inspect(name)
        await engine.images.pull(name, login_for(name, self._registry, self._password(log)))
        self._unnamed.add(images.brought(before, await engine.images.inspect(name)))

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


def _for_podman(request: BuildRequest, dockerfile: Dockerfile, log: Log) -> BuildRequest:
    """The request as Podman needs it. BuildFailed when it cannot build the Dockerfile."""
    podman.check(dockerfile)
    if request.fresh or not (why := podman.why_not_cached(dockerfile)):
        return request
    log.write(f"{why}\n")
    return replace(request, fresh=True)


async def _built_image(
    engine: EngineClient, request: BuildRequest, output: ClassicOutput, built_on: Sequence[Base]
) -> Image:
    """The image that this build made. Unavailable when the engine does not have it under its name."""
    found = await engine.images.inspect(request.full_name)
    if found is None or not output.images or found["Id"] != output.images[-1]:
        raise _no_image()
    return Image(request.name, request.tag, found["Id"], bases=tuple(built_on))


async def _bases(engine: EngineClient, names: Sequence[str]) -> list[Base]:
    found = {name: await engine.images.inspect(name) for name in names}
    return [images.base_of(name, image) for name, image in found.items() if image is not None]


def _no_image() -> Unavailable:
    return Unavailable("the Docker Engine ended the build without an image", hint="was it restarted?")
