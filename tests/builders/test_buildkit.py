"""BuildKit through the docker client: what it can do beyond the promise of all builders, and what it must not give away."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine, buildkit_client
from deployd.builders.buildkit import BuildkitBuilder, build_command
from deployd.builders.buildkit_output import BuildkitOutput, as_written
from deployd.builders.docker_cli import Client, locate
from deployd.builders.remote_buildkit import remote_name
from deployd.config.daemon import BuilderSection, Registry
from deployd.domain import Base
from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.logs.logs import Logs
from tests.builders.builds import BUSYBOX, TellingLog, a_context, a_request
from tests.builders.test_engine import push
from tests.conftest import Leaks
from tests.fakes import FakeContext, FakeLog
from tests.testbed.registry import Registry as RunningRegistry

SECRET = "s3cret/value with spaces"


@pytest.fixture
def builder(base_images: Engine, leaks: Leaks, tmp_path: Path) -> BuildkitBuilder:
    leaks.expect("image deployd/*/iris:*")
    client = buildkit_client()
    if client is None:
        pytest.skip("no docker client here can build with BuildKit")
    return BuildkitBuilder(BuilderSection(), tmp_path, client=client, url=base_images.url)


@pytest.mark.engine
async def test_only_its_own_step_can_read_a_build_secret(
    builder: BuildkitBuilder, base_images: Engine, leaks: Leaks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_TOKEN", SECRET)
    request = a_request(leaks.instance, secrets={"npm": "env:NPM_TOKEN"})
    log = Logs(tmp_path / "logs").open("iris", 1)
    use = f"RUN --mount=type=secret,id=npm cat /run/secrets/npm && wc -c < /run/secrets/npm > /{leaks.instance}"
    async with a_context(use) as context:
        image = await builder.build(request, context, log)
    log.close()
    text = (tmp_path / "logs/iris/1.log").read_text()
    assert "***" in text
    assert SECRET not in text
    assert SECRET not in str(base_images.api().get(f"/images/{image.id}/json"))
    assert SECRET not in str(base_images.api().get(f"/images/{image.id}/history"))
    assert not (tmp_path / "builds").exists()


@pytest.mark.engine
async def test_no_command_line_holds_a_value_and_no_file_is_readable_by_others(
    builder: BuildkitBuilder, leaks: Leaks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_TOKEN", SECRET)
    request = a_request(leaks.instance, {"VALUE": "an-arg-that-is-nobodys-business"}, secrets={"npm": "env:NPM_TOKEN"})
    log = TellingLog(" started\n")
    async with a_context("ARG VALUE\nRUN echo started; sleep 60") as context:
        task = asyncio.create_task(builder.build(request, context, log))
        await asyncio.wait_for(log.told.wait(), 60)
        commands = command_lines()
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "builds").rglob("*")}
        task.cancel()
        await asyncio.wait({task})
    assert any(request.commit.encode() in command for command in commands)
    assert not any(b"nobodys-business" in command or SECRET.encode() in command for command in commands)
    assert modes.pop("secret-0") == 0o600
    assert set(modes.values()) == {0o700}
    assert not (tmp_path / "builds").exists()


def command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines.append(path.read_bytes())
    return lines


@pytest.mark.engine
async def test_a_cache_mount_keeps_what_the_last_build_put_there(builder: BuildkitBuilder, leaks: Leaks) -> None:
    count = f"RUN --mount=type=cache,target=/cache,id={leaks.instance} echo $COMMIT >> /cache/n && wc -l < /cache/n"
    log = FakeLog()
    async with a_context(f"ARG COMMIT\n{count}\n") as context:
        for _ in range(2):
            await builder.build(a_request(leaks.instance), context, log)
    printed = [line.split(maxsplit=2)[2] for line in log.text.splitlines() if line.endswith((" 1", " 2"))]
    assert printed == ["1", "2"]


class BrokenContext(FakeContext):
    async def tar(self) -> AsyncIterator[bytes]:
        async for whole in super().tar():
            yield whole[:1024]
        raise BuildFailed("the build context is larger than git.max_size")


@pytest.mark.engine
async def test_an_incomplete_context_gives_no_image(
    builder: BuildkitBuilder, base_images: Engine, leaks: Leaks
) -> None:
    """The half is a valid tar with the Dockerfile in it."""
    request = a_request(leaks.instance)
    async with BrokenContext("0" * 40, {"Dockerfile": f"FROM {BUSYBOX}\n".encode()}) as context:
        with pytest.raises(BuildFailed, match=r"git\.max_size"):
            await builder.build(request, context, FakeLog())
    assert base_images.api().get(f"/images/{request.full_name}/json") is None


@pytest.mark.engine
async def test_a_base_image_of_a_private_registry_is_pulled_with_its_credentials(
    builder: BuildkitBuilder,
    base_images: Engine,
    leaks: Leaks,
    tmp_path: Path,
    registry_with_password: RunningRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"{registry_with_password.address}/base-{leaks.instance}"
    await push(base_images, name, registry_with_password)
    assert registry_with_password.password is not None
    monkeypatch.setenv("REGISTRY_PASSWORD", registry_with_password.password)
    settings = Registry(url=registry_with_password.url, username="deployd", password="env:REGISTRY_PASSWORD")
    section, client = BuilderSection(), buildkit_client()
    knowing = BuildkitBuilder(section, tmp_path, settings, client=client, url=base_images.url)
    async with a_context(f"FROM {name}\nRUN true") as context:
        with pytest.raises(BuildFailed) as failed:
            await builder.build(a_request(leaks.instance), context, FakeLog())
        assert "[registry]" in failed.value.hint
        await knowing.build(a_request(leaks.instance), context, FakeLog())
    assert not (tmp_path / "builds").exists()


@pytest.mark.engine
async def test_limits_that_buildkit_does_not_support_are_logged(
    base_images: Engine, builder: BuildkitBuilder, leaks: Leaks, tmp_path: Path
) -> None:
    section = BuilderSection.model_validate({"memory": "1GiB"})
    limited = BuildkitBuilder(section, tmp_path, client=buildkit_client(), url=base_images.url)
    log = FakeLog()
    async with a_context("CMD true") as context:
        await limited.build(a_request(leaks.instance), context, log)
    assert log.text.startswith("builder.memory and builder.cpus do not limit BuildKit")


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "LD_PRELOAD", "BUILDKIT_HOST", "HOME"])
async def test_an_arg_that_would_change_the_client_is_refused(tmp_path: Path, name: str) -> None:
    builder = BuildkitBuilder(BuilderSection(), tmp_path, client=Path("/nowhere/docker"))
    async with a_context("RUN true") as context:
        with pytest.raises(BuildFailed, match=f"{name} would change"):
            await builder.build(a_request("test", {name: "x"}), context, FakeLog())


PLUGIN, PLAIN = Client(Path("/bin/docker"), buildx=True), Client(Path("/bin/docker"), buildx=False)


def test_the_command_line_of_a_build_with_buildx_at_a_remote_address() -> None:
    request = a_request("test", {"TOKEN": "value"}, stage="serve")
    command = build_command(
        PLUGIN, "tcp://10.0.0.1:1234", request, "svc/Dockerfile", ["--load"], {"npm": Path("/run/b/s")}
    )
    assert command[:8] == [
        "/bin/docker", "buildx", "build", "--progress=plain", "--load", "--builder", remote_name("tcp://10.0.0.1:1234"), "--file",
    ]  # fmt: skip
    assert command[-10:] == [
        f"io.deployd.build={request.image_labels['io.deployd.build']}", "--build-arg", "COMMIT", "--build-arg", "TOKEN",
        "--secret", "id=npm,src=/run/b/s", "--target", "serve", "-",
    ]  # fmt: skip
    assert "value" not in " ".join(command)


def test_the_command_line_of_a_build_without_buildx() -> None:
    command = build_command(PLAIN, None, a_request("test"), "Dockerfile", ["--iidfile", "/run/b/image-id"], {})
    assert command[:7] == [
        "/bin/docker", "build", "--progress=plain", "--iidfile", "/run/b/image-id", "--file", "Dockerfile",
    ]  # fmt: skip


def test_a_base_image_has_the_name_that_the_dockerfile_gives_it() -> None:
    names = ["127.0.0.1:5000/base", "python:3.12", "busybox:latest"]
    known = [Base("127.0.0.1:5000/base:latest", "sha256:1"), Base("python:3.12", ""), Base("busybox:latest", "")]
    assert [as_written(base, names).name for base in known] == names


def a_client(tmp_path: Path, version: str, *, buildx: bool) -> Path:
    """A client that only answers who it is."""
    path = tmp_path / "docker"
    answer = "exit 0" if buildx else "exit 1"
    path.write_text(
        f'#!/bin/sh\ncase $1 in buildx) {answer};; --version) echo "Docker version {version}, build x";; esac\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("version", "buildx"), [("20.10.24", False), ("18.09.1", False), ("28.2.2", True), ("20.10.24", True)]
)
async def test_a_client_that_can_build_with_buildkit_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, buildx: bool
) -> None:
    path = a_client(tmp_path, version, buildx=buildx)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert await locate(None) == Client(path, buildx=buildx)


@pytest.mark.parametrize("version", ["28.2.2", "18.06.3", "nonsense"])
async def test_a_client_that_cannot_build_with_buildkit_is_named(tmp_path: Path, version: str) -> None:
    path = a_client(tmp_path, version, buildx=False)
    with pytest.raises(Unavailable, match="cannot build with BuildKit") as away:
        await locate(path)
    assert "buildx" in away.value.hint


async def test_a_remote_buildkit_needs_buildx(tmp_path: Path) -> None:
    client = a_client(tmp_path, "20.10.24", buildx=False)
    section = BuilderSection.model_validate({"kind": "buildkit", "address": "tcp://127.0.0.1:1234"})
    builder = BuildkitBuilder(section, tmp_path / "state", client=client)
    with pytest.raises(ConfigError, match=r"builder\.address"):
        await builder.ping()


META = "#3 [internal] load metadata for x/y:1"
NOT_COMPLETE = '#7 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2'
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
DENIED, AWAY, MANY = "pull access denied", "dial tcp: no such host", "toomanyrequests: slow down"
LLB = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
PARSE = "dockerfile parse error line 1: unknown instruction: FRM"


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (
            ["#7 [build 3/4] RUN make", "#7 0.9 #8 ERROR: a lie", NOT_COMPLETE],
            BuildFailed,
            "step 3/4: RUN make: exit code 2",
        ),
        ([META, f"#3 ERROR: {DENIED}"], BuildFailed, f"base image x/y:1: {DENIED}"),
        ([META, f"#3 ERROR: {AWAY}"], Unavailable, f"base image x/y:1: {AWAY}"),
        (["#3 [1/2] FROM x/y:1", f"#3 ERROR: {MANY}"], Unavailable, f"step 1/2: FROM x/y:1: {MANY}"),
        ([LLB + PARSE], BuildFailed, PARSE),
        ([f"ERROR: {NO_DAEMON}"], Unavailable, f"BuildKit cannot build: {NO_DAEMON}"),
        ([], BuildFailed, "the docker client ended with 1"),
    ],
)
def test_every_failure_has_a_reason(lines: list[str], kind: type[Exception], message: str) -> None:
    output = BuildkitOutput(FakeLog())
    for line in lines:
        output.take(line)
    failure = output.failure(1)
    assert type(failure) is kind
    assert failure.message == message


def test_the_progress_of_transfers_is_not_logged() -> None:
    log = FakeLog()
    output = BuildkitOutput(log)
    for line in (
        "#4 [1/2] FROM python:3.11",
        "#4 sha256:5c60c3fdcd8a2b7c2f7dfaf6f8a9b8f1fa6e0d2d3e0c4f3b2a1908f7e6d5c4b3 1.05MB / 29.13MB 0.2s",
        "#4 extracting sha256:5c60c3fdcd8a2b7c2f7dfaf6f8a9b8f1fa6e0d2d3e0c4f3b2a1908f7e6d5c4b3 0.5s done",
        "#4 DONE 2.1s",
    ):
        output.take(line)
    assert log.text == "#4 [1/2] FROM python:3.11\n#4 DONE 2.1s\n"
