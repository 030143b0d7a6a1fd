"""Builds with BuildKit, through the docker client: cache mounts, build secrets, heredocs, frontends and remote builders.

No command line holds the value of a build arg or secret: args are in the client's environment, secrets in private files that are
removed after the build. The client's success alone is not trusted: the engine must have the image, or, where a remote BuildKit
pushes it, the registry (the target asks it). What a remote BuildKit builds for Docker is loaded into the engine.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from deployd.builders import images, remote_buildkit
from deployd.builders.bases import pull_all
from deployd.builders.buildkit_cache import BuildkitCache
from deployd.builders.buildkit_output import BuildkitOutput, as_written
from deployd.builders.docker_cli import Client, locate, no_answer, run, stream
from deployd.builders.dockerfile import bases, check, parse
from deployd.builders.outcome import in_time
from deployd.builders.private import PrivateDirectories, login, read, write_secrets
from deployd.builders.remote_buildkit import remote_name
from deployd.builders.unnamed import UnnamedImages
from deployd.config.daemon import BuilderSection, Registry
from deployd.domain import Base, Image
from deployd.engine.client import EngineClient
from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.ports.builder import BuildRequest, Present, Removal
from deployd.ports.log import Log
from deployd.ports.source import Context

# A build arg with such a name would change what the client does, since args are in its environment.
_CLIENT_VARIABLES = re.compile(
    r"PATH|HOME|(?:LD|DOCKER|BUILDX|SSH|XDG)_.*|BUILDKIT_(?!SYNTAX$|INLINE_CACHE$|CONTEXT_KEEP_GIT_DIR$).*"
)


class BuildkitBuilder:
    """Implements ports.Builder."""

    def __init__(
        self,
        settings: BuilderSection,
        state_dir: Path,
        registry: Registry | None = None,
        *,
        client: Path | None = None,
        url: str | None = None,
    ) -> None:
        """`client`: the docker client; by default the first on PATH that can build with BuildKit. `url`: the engine's
        address; by default the one that the docker client would use."""
        self._settings = settings
        self._private = PrivateDirectories(state_dir / "builds")
        self._registry = registry
        self._given = client
        self._client: Client | None = None
        self._cache: BuildkitCache | None = None
        self._url = url
        self._unnamed = UnnamedImages(state_dir / "unnamed-images")
        self._environment = {"DOCKER_HOST": url} if url else {}

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """See ports.Builder. BuildFailed also after `builder.timeout`.

        On a cancellation, the client ends at once. BuildKit ends the step about 0.2 s later; it does not tell when.
        """
        dockerfile = parse(context.instructions, context.dockerfile)
        check(dockerfile, request.app.build, request.args)
        _refuse_client_variables(request.args)
        client = await self._located()
        if self._settings.memory is not None or self._settings.cpus is not None:
            log.write("builder.memory and builder.cpus do not limit BuildKit: set limits on its daemon\n")
        async with in_time(self._settings.timeout, log):
            return await self._build(client, request, context, log, bases(dockerfile, request.args))

    async def find(self, image: Image) -> Present | None:
        """See ports.Builder. An image that BuildKit pushed is looked for in the registry."""
        client = await self._located()
        if self._settings.address is not None and image.digest is not None:
            with self._private.one() as directory:
                environment = {**self._environment, **login(directory, self._registry, None)}
                ended = await run(remote_buildkit.find_command(client.path, image), environment)
            return Present(0) if ended.code == 0 and remote_buildkit.has(image, ended.output) else None
        async with self._engine() as engine:
            return await images.find(engine, image)

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        """See ports.Builder. An image that BuildKit pushed takes no space here."""
        if self._settings.address is not None and image.digest is not None:
            return {} if await self.find(image) is not None else None
        async with self._engine() as engine:
            return await images.layers(engine, image)

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        """See ports.Builder. Images in the registry are left to the registry's own clean-up."""
        try:
            engine = EngineClient(self._url)
        except ConfigError:
            return Removal(done=True)  # a remote BuildKit built the image, for a cluster
        async with engine:
            return await images.remove(engine, image, dry_run=dry_run)

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        """See ports.Builder. BuildKit's cache does not record who filled it, so it is trimmed only where the operator has set
        `cache_limit` for all of it. BuildKit does not tell beforehand what would go."""
        left = await self._trim_left(limit_bytes, dry_run=dry_run) if self._unnamed.all() else 0
        if dry_run or self._settings.cache_limit is None:
            return left
        if self._cache is None:
            self._cache = BuildkitCache(await self._located(), self._settings.address)
        return left + await self._cache.trim(limit_bytes, self._environment)

    async def ping(self) -> None:
        """Unavailable when there is no client, or no engine or remote BuildKit that answers it within five seconds."""
        client, address = await self._located(), self._settings.address
        command = [str(client.path), "version", "--format", "{{.Server.Version}}"]
        if address is not None:
            command = remote_buildkit.answers_command(client.path, address)
        try:
            async with asyncio.timeout(5):
                await self._answer(command)
        except TimeoutError as exc:
            raise Unavailable(f"{address or 'the Docker Engine'} does not answer") from exc

    def _engine(self) -> EngineClient:
        try:
            return EngineClient(self._url)
        except ConfigError as exc:
            raise Unavailable(exc.message, hint=exc.hint) from exc

    async def _located(self) -> Client:
        if self._client is None:
            client = await locate(self._given)
            if self._settings.address is not None:
                await self._attach(client, self._settings.address)
            self._client = client
        return self._client

    async def _attach(self, client: Client, address: str) -> None:
        """Register the remote BuildKit with buildx, unless that was done before."""
        if not client.buildx:
            raise ConfigError("builder.address: a remote BuildKit needs the docker client's buildx plugin")
        name = remote_name(address)
        if (await run([str(client.path), "buildx", "inspect", name], self._environment)).code:
            await self._answer(remote_buildkit.attach_command(client.path, address))

    def _pushes(self, request: BuildRequest) -> bool:
        """Whether BuildKit pushes the image: a remote one does so for a cluster, which pulls it; no engine is needed."""
        return self._settings.address is not None and request.app.target == "kubernetes"

    async def _build(
        self, client: Client, request: BuildRequest, context: Context, log: Log, names: Sequence[str]
    ) -> Image:
        output = BuildkitOutput(log)
        with self._private.one() as directory:
            secrets = write_secrets(request, directory, log)
            pushes = self._pushes(request)
            insecure = self._registry is not None and self._registry.insecure
            out = (
                remote_buildkit.push_options(directory, insecure=insecure)
                if pushes
                else _load_options(client, directory)
            )
            command = build_command(client, self._settings.address, request, context.dockerfile, out, secrets)
            asking = {**self._environment, **login(directory, self._registry, log)}
            if request.pull and self._settings.address is None:
                await pull_all(names, partial(self._pull, client, asking), log)
            environment = {**request.args, "DOCKER_BUILDKIT": "1", **asking}
            code = await stream(command, environment, context.tar(), output.take, client.stop_seconds)
            if code:
                raise remote_buildkit.push_failed(output.failure(code))
            if pushes:
                pushed = remote_buildkit.pushed(request, read(directory / "metadata"))
                return structs.replace(pushed, bases=tuple(as_written(base, names) for base in output.bases))
            built = read(directory / "image-id")
        found = await self._inspect(client, request.full_name)
        # What a remote BuildKit loads has another id in the containerd store; nobody else uses the name.
        if found is None or (self._settings.address is None and found["Id"] != built):
            raise Unavailable("BuildKit ended the build without an image", hint="was the Docker Engine restarted?")
        built_on = [await self._base(client, as_written(base, names)) for base in output.bases]
        return Image(request.name, request.tag, found["Id"], bases=tuple(built_on))

    async def _base(self, client: Client, base: Base) -> Base:
        """A base image; where BuildKit gave no digest, with the engine's id."""
        if base.digest or (found := await self._inspect(client, base.name)) is None:
            return base
        return images.base_of(base.name, found)

    async def _pull(self, client: Client, environment: Mapping[str, str], name: str) -> None:
        before = await self._inspect(client, name)
        ended = await run([str(client.path), "pull", "--quiet", name], environment)
        if ended.code:
            raise no_answer(ended.output)
        self._unnamed.add(images.brought(before, await self._inspect(client, name)))

    async def _trim_left(self, limit_bytes: int, *, dry_run: bool) -> int:
        """Trim base images that a later pull has replaced, and layers that the classic builder left."""
        async with EngineClient(self._url) as engine:
            return await images.trim(engine, self._unnamed, limit_bytes, dry_run=dry_run)

    async def _inspect(self, client: Client, name: str) -> dict[str, Any] | None:
        ended = await run([str(client.path), "image", "inspect", "--format", "{{json .}}", name], self._environment)
        if ended.code == 0:
            found: dict[str, Any] = json.loads(ended.output[ended.output.index("{") :])
            return found
        if "No such image" in ended.output:
            return None
        raise no_answer(ended.output)

    async def _answer(self, command: Sequence[str]) -> str:
        ended = await run(command, self._environment)
        if ended.code:
            raise no_answer(ended.output)
        return ended.output


def build_command(
    client: Client,
    address: str | None,
    request: BuildRequest,
    dockerfile: str,
    output: Sequence[str],
    secrets: Mapping[str, Path],
) -> list[str]:
    """The command line of a build that reads its tar from standard input; `output` says where the image goes. It has only the
    names of args: their values are in the environment."""
    command = [str(client.path), *(["buildx"] if client.buildx else []), "build", "--progress=plain", *output]
    if client.buildx and address:
        command += ["--builder", remote_name(address)]
    command += ["--file", dockerfile, "--tag", request.full_name]
    if request.fresh:
        command.append("--no-cache")
    if request.pull and address is not None:
        command.append("--pull")
    for key, value in request.image_labels.items():
        command += ["--label", f"{key}={value}"]
    for name in request.args:
        command += ["--build-arg", name]
    for name, path in secrets.items():
        command += ["--secret", f"id={name},src={path}"]
    if request.app.build.stage is not None:
        command += ["--target", request.app.build.stage]
    return [*command, "-"]


def _load_options(client: Client, directory: Path) -> list[str]:
    """The options that load the image into the engine."""
    return [*(["--load"] if client.buildx else []), "--iidfile", str(directory / "image-id")]


def _refuse_client_variables(args: Mapping[str, str]) -> None:
    for name in args:
        if _CLIENT_VARIABLES.fullmatch(name):
            raise BuildFailed(
                f"app.build.args: {name} would change the docker client, not the build",
                hint="give the arg another name",
            )
