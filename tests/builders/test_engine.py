"""The classic builder on a real engine: what its API gives beyond the promise that all builders keep."""

import asyncio
import http.server
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.builders.engine import EngineBuilder
from deployd.builders.unfinished import UnfinishedBuilds
from deployd.builders.upload import tar_of
from deployd.config.daemon import BuilderSection, Registry
from deployd.engine.client import EngineClient
from deployd.errors import BuildFailed, Unavailable
from tests.builders.builds import BUSYBOX, TellingLog, a_context, a_request
from tests.conftest import Leaks
from tests.fakes import FakeContext, FakeLog
from tests.testbed.registry import Registry as RunningRegistry


def a_builder(engine: Engine, tmp_path: Path, **settings: object) -> EngineBuilder:
    return EngineBuilder(BuilderSection.model_validate(settings), tmp_path, url=engine.url)


@pytest.mark.engine
async def test_the_log_looks_like_the_output_of_docker_build(base_images: Engine, leaks: Leaks, tmp_path: Path) -> None:
    leaks.expect("image deployd/*/iris:*")
    log = FakeLog()
    async with a_context(
        f"RUN printf 'first '; sleep 0.2; echo second; sleep 0.2; echo third >&2; : {leaks.instance}"
    ) as context:
        await a_builder(base_images, tmp_path).build(a_request(leaks.instance), context, log)
    assert f"Step 1/2 : FROM {BUSYBOX}\n" in log.text
    assert "first second\n" in log.text
    assert "Successfully built " in log.text


@pytest.mark.engine
async def test_memory_and_processor_limits_hold_for_the_build(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    builder = a_builder(base_images, tmp_path, memory="32MiB", cpus=0.5)
    log = FakeLog()
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"
    async with a_context(f"RUN {show}; {quota}; dd if=/dev/zero of=/dev/null bs=64M count=1; exit 1") as context:
        with pytest.raises(BuildFailed, match=r"exit code 1$"):
            await builder.build(a_request(leaks.instance), context, log)
    assert "33554432\n" in log.text
    assert "50000" in log.text
    assert "Killed" in log.text


@pytest.mark.engine
async def test_an_instruction_that_needs_buildkit_is_refused_before_the_engine_is_asked(tmp_path: Path) -> None:
    builder = EngineBuilder(BuilderSection(), tmp_path, url="unix:///nowhere.sock")
    async with a_context("RUN --mount=type=cache,target=/x true") as context:
        with pytest.raises(BuildFailed, match=r'Dockerfile, line 2: RUN --mount needs builder\.kind = "buildkit"'):
            await builder.build(a_request("test"), context, FakeLog())


@pytest.mark.engine
async def test_a_base_image_of_a_private_registry_is_pulled_with_its_credentials(
    base_images: Engine,
    leaks: Leaks,
    tmp_path: Path,
    registry_with_password: RunningRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaks.expect("image deployd/*/iris:*")
    name = f"{registry_with_password.address}/base-{leaks.instance}"
    await push(base_images, name, registry_with_password)
    assert registry_with_password.password is not None
    monkeypatch.setenv("REGISTRY_PASSWORD", registry_with_password.password)
    settings = Registry(url=registry_with_password.url, username="deployd", password="env:REGISTRY_PASSWORD")
    async with a_context(f"FROM {name}\nRUN true") as context:
        without = a_builder(base_images, tmp_path)
        with pytest.raises(BuildFailed, match="step 1/2: FROM") as failed:
            await without.build(a_request(leaks.instance), context, FakeLog())
        assert "[registry]" in failed.value.hint
        builder = EngineBuilder(BuilderSection(), tmp_path, settings, url=base_images.url)
        log = FakeLog()
        await builder.build(a_request(leaks.instance), context, log)
    assert f"Status: Downloaded newer image for {name}:latest\n" in log.text
    assert "[=" not in log.text
    base_images.api().delete(f"/images/{name}?force=1")


async def push(engine: Engine, name: str, registry: RunningRegistry) -> None:
    """Put BUSYBOX there under that name, and take the name away here."""
    engine.api().post(f"/images/{BUSYBOX}/tag?repo={name}")
    assert registry.username is not None
    assert registry.password is not None
    async with EngineClient(engine.url) as client:
        _ = [said async for said in client.images.push(name, "latest", (registry.username, registry.password))]
        await client.images.remove(name)


@pytest.mark.engine
async def test_the_layers_of_builds_are_kept_as_cache_up_to_the_limit(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    leaks.expect("image deployd/*/iris:*")
    builder = a_builder(base_images, tmp_path)
    stages = (
        f"FROM {BUSYBOX} AS build\nARG COMMIT\nRUN dd if=/dev/zero of=/big bs=1M count=8; echo $COMMIT > /id\n"
        "FROM scratch\nCOPY --from=build /id /\n"
    )
    async with a_context(stages) as context:
        built = [await builder.build(a_request(leaks.instance), context, FakeLog()) for _ in range(2)]
    assert kept(tmp_path) == ["unnamed-images"]  # nothing is left to settle
    layers = builder._unnamed.all()
    assert set(layers) <= everything(base_images)
    assert await builder.trim(10**9) == 0
    assert await builder.trim(12_000_000, dry_run=True) >= 8_000_000
    assert await builder.trim(12_000_000) >= 8_000_000
    left = builder._unnamed.all()
    assert set(left) == set(layers) & everything(base_images)
    assert 0 < len(left) < len(layers)
    await builder.trim(0)
    for image in built:
        assert await builder.find(image) is not None
        await builder.remove(image)
    await builder.trim(0)
    assert builder._unnamed.all() == []
    assert not set(layers) & everything(base_images)


@pytest.mark.engine
async def test_the_removal_of_an_image_leaves_the_layers_that_another_build_may_stand_on(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    """Without that, a build that has just taken a layer from the cache fails with "unknown parent image ID"."""
    builder = a_builder(base_images, tmp_path)
    async with a_context(f"RUN echo {leaks.instance} > /shared\nRUN echo 1 > /one") as context:
        image = await builder.build(a_request(leaks.instance), context, FakeLog())
    layers = builder._unnamed.all()
    await builder.remove(image)
    assert len(layers) == 2
    assert set(layers) <= everything(base_images)
    log = TellingLog("started\n")
    async with a_context(f"RUN echo {leaks.instance} > /shared\nRUN echo started; sleep 60") as context:
        other = asyncio.create_task(builder.build(a_request(leaks.instance), context, log))
        await asyncio.wait_for(log.told.wait(), 60)
        assert await builder.trim(0) == 0  # it waits for the end of that build
        other.cancel()
        await asyncio.wait({other})
    assert await builder.trim(0) > 0
    assert not set(layers) & everything(base_images)


A_BUILD = """
import asyncio, sys
from pathlib import Path
from deployd.builders.engine import EngineBuilder
from deployd.config.daemon import BuilderSection
from tests.builders.builds import a_context, a_request
from tests.fakes import FakeLog

class Printed(FakeLog):
    def write(self, text):
        print(text, flush=True)

async def main(url, state, instance):
    builder = EngineBuilder(BuilderSection(), Path(state), url=url)
    async with a_context(f"RUN echo {instance} > /one\\nRUN echo started; sleep 60") as context:
        await builder.build(a_request(instance), context, Printed())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.engine
async def test_the_layers_of_a_build_go_also_when_it_died_with_deployd(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    before = everything(base_images)
    command = [sys.executable, "-c", A_BUILD, base_images.url, str(tmp_path), leaks.instance]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while await process.stdout.readline() != b"started\n":
            pass
    process.kill()
    await process.wait()
    made = {each for each in everything(base_images) - before if leaks.instance in last_step(base_images, each)}
    assert len(made) == 1
    async with asyncio.timeout(30):  # until the engine has removed the container of the killed build, too
        while made & everything(base_images):
            await a_builder(base_images, tmp_path).trim(0)
    assert kept(tmp_path) == ["unnamed-images"]


@pytest.mark.engine
async def test_the_layers_of_a_build_that_was_cut_off_are_settled_once_its_present_step_has_ended(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    """Until then the engine may still make the layer of that step."""
    builder, builds = a_builder(base_images, tmp_path), UnfinishedBuilds(tmp_path / "unfinished-builds")
    began = int(time.time())
    async with EngineClient(base_images.url) as client:
        before = await a_step(client, BUSYBOX, leaks.instance)
        layer = base_images.api().post(f"/commit?container={before}")["Id"]
        await client.containers.remove(before)
        present = await a_step(client, layer, leaks.instance)
        builds.new().note(began, [layer], present)
        await builder.trim(0)
        assert [build.container for build in builds.all()] == [present]
        last = base_images.api().post(f"/commit?container={present}")["Id"]
        await client.containers.remove(present)
    await builder.trim(0)
    assert not {layer, last} & everything(base_images)
    assert kept(tmp_path) == ["unnamed-images"]


@pytest.mark.engine
async def test_a_layer_that_another_made_meanwhile_stays_when_a_build_took_it_from_the_cache(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    """The other build may build on it between two of its steps."""
    leaks.expect("image deployd/*/iris:*")
    builder, log, began = a_builder(base_images, tmp_path), TellingLog("started\n"), int(time.time())
    ours = f"RUN echo {leaks.instance}; echo started; until [ -s /go ]; do sleep 0.1; done"
    theirs = f"FROM {BUSYBOX}\nRUN echo {leaks.instance} > /theirs\n"
    text = f"FROM {BUSYBOX} AS one\n{ours}\n{theirs}COPY --from=one /go /\n"
    async with a_context(text) as context, EngineClient(base_images.url) as client:
        build = asyncio.create_task(builder.build(a_request(leaks.instance), context, log))
        await asyncio.wait_for(log.told.wait(), 60)
        async with client.images.build({"rm": "1"}, {}, tar_of(theirs)) as other:
            (layer,) = [message["aux"]["ID"] async for message in other.messages if "aux" in message]
        step = log.text.rpartition("Running in ")[2].split()[0]
        assert await client.containers.execute(step, ["sh", "-c", "echo > /go"], ignored) == 0
        await builder.remove(await build)
        assert len(builder._unnamed.all()) == 2
        cut = UnfinishedBuilds(tmp_path / "unfinished-builds").new()
        cut.note(began, [layer], None, [layer.removeprefix("sha256:")[:12]])
        await builder.trim(0)
        assert builder._unnamed.all() == []
        assert layer in await client.images.remove(layer)


async def ignored(_: bytes) -> None:
    """What a command prints."""


async def a_step(client: EngineClient, image: str, text: str) -> str:
    """A container that has written a file, as that of a RUN has before the engine makes a layer of it."""
    container = await client.containers.create(f"step-{text}", {"Image": image, "Cmd": ["sh", "-c", "date > /one"]})
    await client.containers.start(container)
    await client.containers.until_ended(container)
    return container


def kept(state: Path) -> list[str]:
    return [path.name for path in state.iterdir()]


def last_step(engine: Engine, image: str) -> str:
    """What made the last layer of an image; nothing when somebody has just removed it."""
    try:
        return str(engine.api().get(f"/images/{image}/history")[0]["CreatedBy"])
    except Unavailable:
        return ""


def everything(engine: Engine) -> set[str]:
    return {image["Id"] for image in engine.api().get("/images/json?all=1")}


@pytest.mark.engine
async def test_a_full_disk_changes_no_result_of_a_build(
    base_images: Engine, leaks: Leaks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaks.expect("image deployd/*/iris:*", "image sha256:*")
    (tmp_path / "unnamed-images").mkdir()  # refuses as a full disk does
    builder = a_builder(base_images, tmp_path)
    stage = f"FROM {BUSYBOX} AS made\nLABEL io.deployd.instance={leaks.instance}\nRUN echo {leaks.instance} > /id\n"
    request = a_request(leaks.instance)
    async with a_context(f"{stage}FROM scratch\nCOPY --from=made /id /\n") as context:
        assert await builder.find(await builder.build(request, context, FakeLog())) is not None
    async with a_context(f"{stage}FROM {BUSYBOX}\nRUN exit 3\n") as context:
        with pytest.raises(BuildFailed, match=r"exit code 3$"):
            await builder.build(a_request(leaks.instance), context, FakeLog())
    assert "Cannot record which unnamed images" in caplog.text


@pytest.mark.engine
async def test_an_image_id_that_a_build_only_prints_is_not_recorded(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    """A build prints what the engine would print for a layer, with the id of somebody else's unnamed image."""
    builder = a_builder(base_images, tmp_path)
    base = base_images.api().get(f"/images/{BUSYBOX}/json")["Id"].removeprefix("sha256:")[:12]
    lie = f"RUN echo ' ---> {base}'; echo ' ---> Running in {base}'; exit 1"
    async with a_context(lie) as context:
        with pytest.raises(BuildFailed):
            await builder.build(a_request(leaks.instance), context, FakeLog())
    assert builder._unnamed.all() == []


class BigContext(FakeContext):
    """256 MiB of zeros that exist only piece by piece."""

    async def tar(self) -> AsyncIterator[bytes]:
        import tarfile  # noqa: PLC0415

        async for small in super().tar():
            yield small[: 512 + 512 * (-(-len(self.instructions) // 512))]
        entry = tarfile.TarInfo("zeros")
        entry.size = 256 * 1024**2
        yield entry.tobuf()
        for _ in range(1024):
            yield bytes(256 * 1024)
        yield bytes(1024)


@pytest.mark.engine
@pytest.mark.slow
async def test_a_large_context_neither_fills_the_memory_nor_blocks_the_loop(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    leaks.expect("image deployd/*/iris:*")
    builder = a_builder(base_images, tmp_path)
    big = BigContext("0" * 40, {"Dockerfile": f"FROM {BUSYBOX}\n".encode()})
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - began)

    before = resident()
    async with big, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        await builder.build(a_request(leaks.instance), big, FakeLog())
        watching.cancel()
    assert worst < 0.5
    assert resident() - before < 64 * 1024**2


def resident() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def an_engine_that(*answers: bytes) -> Iterator[str]:
    """An engine that answers a build with those bytes, then breaks the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"OK" if "ping" in self.path else b'{"message": "no such image"}'
            self.send_response(200 if "ping" in self.path else 404)
            self.send_header("Api-Version", "1.41")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            if known := self.headers["Content-Length"]:
                self.rfile.read(int(known))
            while not known and (size := int(self.rfile.readline() or b"0", 16)):
                self.rfile.read(size + 2)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            for answer in answers:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(answer), answer))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


STAGE = b'{"stream":"Step 1/2 : FROM x"}\r\n{"aux":{"ID":"sha256:' + b"a" * 64 + b'"}}\r\n'


@pytest.mark.slow
@pytest.mark.parametrize(
    "answers", [(), (STAGE,), (STAGE + b'{"stream":"Step',)], ids=["nothing", "a stage", "half a line"]
)
async def test_a_connection_that_breaks_is_not_a_success(tmp_path: Path, answers: tuple[bytes, ...]) -> None:
    with an_engine_that(*answers) as url:
        builder = EngineBuilder(BuilderSection(), tmp_path, url=url)
        async with a_context("RUN true") as context:
            with pytest.raises(Unavailable, match="does not answer"):
                await builder.build(a_request("test"), context, FakeLog())


@pytest.mark.slow
async def test_a_stream_that_just_ends_is_not_a_success(tmp_path: Path) -> None:
    with an_engine_that(STAGE, b"") as url:
        builder = EngineBuilder(BuilderSection(), tmp_path, url=url)
        async with a_context("RUN true") as context:
            with pytest.raises(Unavailable, match="without an image"):
                await builder.build(a_request("test"), context, FakeLog())


class BrokenContext(FakeContext):
    async def tar(self) -> AsyncIterator[bytes]:
        yield bytes(512)
        raise BuildFailed("the build context is larger than git.max_size")


@pytest.mark.slow
async def test_an_error_of_the_context_is_raised_as_it_is(tmp_path: Path) -> None:
    with an_engine_that() as url:
        builder = EngineBuilder(BuilderSection(), tmp_path, url=url)
        async with BrokenContext("0" * 40) as context:
            with pytest.raises(BuildFailed, match=r"git\.max_size"):
                await builder.build(a_request("test"), context, FakeLog())


class SlowContext(FakeContext):
    """A context of which the second half never comes."""

    def __init__(self) -> None:
        super().__init__("0" * 40)
        self.stuck = asyncio.Event()

    async def tar(self) -> AsyncIterator[bytes]:
        async for piece in super().tar():
            yield piece[:100]
            try:
                self.stuck.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)  # a context may take its time to end


@pytest.mark.engine
async def test_a_build_can_be_cancelled_while_its_context_is_sent(
    base_images: Engine, leaks: Leaks, tmp_path: Path
) -> None:
    async with SlowContext() as context:
        builder = a_builder(base_images, tmp_path)
        build = asyncio.create_task(builder.build(a_request(leaks.instance), context, FakeLog()))
        async with asyncio.timeout(30):
            await context.stuck.wait()
        build.cancel()
        await asyncio.wait({build}, timeout=30)
        assert build.cancelled()
