"""What every builder promises, asked of each on a real engine."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import structs

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.domain import Base, Image
from deployd.engine.client import EngineClient
from deployd.engine.names import familiar
from deployd.errors import BuildFailed, Unavailable
from deployd.logs.logs import Logs
from deployd.ports.builder import Present
from tests.builders.builds import BUSYBOX, TellingLog, a_context, a_request, running
from tests.conftest import Leaks
from tests.contract.builders import KINDS, Bench, a_bench, built
from tests.fakes import FakeLog
from tests.testbed.registry import Registry

pytestmark = pytest.mark.engine


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, base_images: Engine, leaks: Leaks, tmp_path: Path) -> Iterator[Bench]:
    yield from a_bench(request.param, base_images, leaks, tmp_path)


async def test_a_commit_becomes_an_image_with_its_labels(bench: Bench, base_images: Engine) -> None:
    request = a_request(bench.instance, {"GREETING": "hi there $HOME"})
    text = 'ARG GREETING\nARG COMMIT\nCOPY file /\nRUN echo "$GREETING $COMMIT" > /said\nCMD ["cat", "/said"]'
    context = a_context(text, file="x")
    async with context:
        image = await bench.builder.build(request, context, FakeLog())
    assert (image.name, image.tag, image.digest) == (request.name, request.tag, None)
    inspected = base_images.api().get(f"/images/{image.reference}/json")
    assert inspected["Id"] == image.id
    assert labels_of(inspected) == request.image_labels
    assert inspected["Config"]["Cmd"] == ["cat", "/said"]
    assert await bench.builder.find(image) == Present(inspected["Size"])
    layers, listed = await bench.builder.layers(image), base_images.api().get("/images/json")
    assert layers is not None
    assert len(layers) == len(inspected["RootFS"]["Layers"])
    assert sum(layers.values()) == pytest.approx(next(each["Size"] for each in listed if each["Id"] == image.id), abs=9)
    assert await bench.builder.layers(structs.replace(image, tag="gone", id=f"sha256:{'0' * 64}")) is None


def test_other_settings_have_another_hash() -> None:
    request = a_request("here", {"A": "1"})
    others = [
        replace(request, args={**request.args, "A": "2"}),
        replace(request, app=a_request("here", stage="x").app),
        replace(request, name="registry.example.com/iris"),
    ]
    assert request.settings not in {other.settings for other in others}
    assert replace(request, tag="another", fresh=True, pull=True).settings == request.settings


async def test_a_stage_can_be_selected(bench: Bench, base_images: Engine) -> None:
    stages = f"FROM {BUSYBOX} AS test\nENV STAGE=test\nFROM {BUSYBOX} AS serve\nENV STAGE=serve\n"
    async with a_context(stages) as context:
        image = await bench.builder.build(a_request(bench.instance, stage="Test"), context, FakeLog())
        with pytest.raises(BuildFailed, match="Dockerfile has no stage nope"):
            await bench.builder.build(a_request(bench.instance, stage="nope"), context, FakeLog())
    assert "STAGE=test" in base_images.api().get(f"/images/{image.id}/json")["Config"]["Env"]


async def test_instructions_for_child_images_stay_instructions(bench: Bench, base_images: Engine) -> None:
    request = a_request(bench.instance)
    async with a_context("ONBUILD RUN exit 7") as context:
        image = await bench.builder.build(request, context, FakeLog())
    assert labels_of(base_images.api().get(f"/images/{image.id}/json")) == request.image_labels
    async with a_context(f"FROM {image.full_name}") as context:
        with pytest.raises(BuildFailed, match="exit code 7"):
            await bench.builder.build(a_request(bench.instance), context, FakeLog())


async def test_a_failing_step_is_named_with_its_exit_code_and_last_lines(bench: Bench, tmp_path: Path) -> None:
    log = Logs(tmp_path / "logs").open("iris", 1)
    async with a_context("RUN true\nRUN echo this is why; echo and that >&2; exit 3") as context:
        with pytest.raises(BuildFailed) as failed:
            await bench.builder.build(a_request(bench.instance), context, log)
    message = failed.value.message
    assert message == "step 3/3: RUN echo this is why; echo and that >&2; exit 3: exit code 3"
    assert sorted(failed.value.hint.splitlines()) == ["and that", "this is why"]
    assert "this is why" in log.tail(20)
    log.close()


async def test_a_dockerfile_with_an_error_fails_the_build(bench: Bench) -> None:
    for text in ("FROM scratch\nFRM x\n", f"FROM {BUSYBOX}\nCOPY nowhere /\n"):
        async with a_context(text) as context:
            with pytest.raises(BuildFailed, match=r"unknown instruction: FRM|nowhere|not found"):
                await bench.builder.build(a_request(bench.instance), context, FakeLog())


async def test_an_unreachable_registry_of_a_base_image_is_unavailable(bench: Bench) -> None:
    async with a_context("FROM 127.0.0.1:1/nowhere\n") as context:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/nowhere") as failed:
            await bench.builder.build(a_request(bench.instance), context, FakeLog())
    assert "registry" in failed.value.hint


async def test_an_unofficial_frontend_is_refused(bench: Bench) -> None:
    async with a_context("# syntax=127.0.0.1:1/evil\nFROM scratch\n") as context:
        with pytest.raises(BuildFailed, match=r"frontend 127\.0\.0\.1:1/evil is not allowed"):
            await bench.builder.build(a_request(bench.instance), context, FakeLog())


async def test_a_build_that_takes_too_long_is_stopped(bench: Bench) -> None:
    marker = uuid.uuid4().hex
    builder = bench.one_with(timeout="3s")
    async with a_context(f"RUN echo started; sleep 60; : {marker}") as context:
        with pytest.raises(BuildFailed, match=r"builder\.timeout \(3 s\)") as failed:
            await builder.build(a_request(bench.instance), context, FakeLog())
    assert "started" in failed.value.hint
    await until_gone(marker)


@pytest.mark.slow
async def test_a_cancelled_build_is_gone_within_half_a_second(bench: Bench, base_images: Engine) -> None:
    markers, took, engines_own = [uuid.uuid4().hex for _ in range(5)], [], []
    for marker in markers:
        log = TellingLog("started\n")
        async with a_context(f"RUN echo started; sleep 60; : {marker}") as context:
            task = asyncio.create_task(bench.builder.build(a_request(bench.instance), context, log))
            await asyncio.wait_for(log.told.wait(), 60)
            assert running(marker)
            began = time.monotonic()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert bench.kind == "buildkit" or not running(marker)
            await until_gone(marker)
            took.append(time.monotonic() - began)
        engines_own.append(await asyncio.to_thread(removal, base_images))
    print(bench.kind, "gone after", [f"{seconds:.3f}" for seconds in took], engines_own)
    # A machine with more to do than it can is measured by what its engine needs to remove any running container.
    assert statistics.median(took) <= max(0.5, 3 * statistics.median(engines_own))
    assert [marker for marker in markers if container_of(base_images, marker)] == []


def labels_of(inspected: dict[str, Any]) -> dict[str, str]:
    """The labels of an image, without the one that Podman adds."""
    return {key: value for key, value in inspected["Config"]["Labels"].items() if key != "io.buildah.version"}


def removal(engine: Engine) -> float:
    """Seconds that the engine takes to kill and remove a container that sleeps."""
    made = engine.api().post("/containers/create", {"Image": BUSYBOX, "Cmd": ["sleep", "60"]})
    engine.api().post(f"/containers/{made['Id']}/start")
    began = time.monotonic()
    engine.api().delete(f"/containers/{made['Id']}?force=1")
    return time.monotonic() - began


async def until_gone(marker: str) -> None:
    async with asyncio.timeout(10):
        while running(marker):  # noqa: ASYNC110 - a process of the engine tells nobody that it ends
            await asyncio.sleep(0.005)


def container_of(engine: Engine, marker: str) -> bool:
    """Whether the engine has a container whose command says this; other tests have theirs meanwhile."""
    return any(marker in each["Command"] for each in engine.api().get("/containers/json?all=1"))


async def test_a_cancelled_build_leaves_no_image_under_its_name(bench: Bench, base_images: Engine) -> None:
    request = a_request(bench.instance)
    log = TellingLog("started\n")
    async with a_context("RUN echo started; sleep 60") as context:
        task = asyncio.create_task(bench.builder.build(request, context, log))
        await asyncio.wait_for(log.told.wait(), 60)
        task.cancel()
        await asyncio.wait({task})
    assert base_images.api().get(f"/images/{request.full_name}/json") is None


async def test_the_log_can_be_followed_while_it_is_built(bench: Bench, tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs")
    with logs.open("iris", 1) as log:
        async with a_context("RUN echo first line; sleep 60") as context:
            task = asyncio.create_task(bench.builder.build(a_request(bench.instance), context, log))
            async with asyncio.timeout(60):
                async for block in logs.follow("iris", 1):
                    if b"first line\n" in block.replace(b"first line; sleep", b""):
                        break
            task.cancel()
            await asyncio.wait({task})


async def test_without_an_engine_a_build_is_unavailable(bench: Bench) -> None:
    builder = bench.one_with(url="unix:///nowhere/docker.sock")
    request = a_request(bench.instance)
    with pytest.raises(Unavailable):
        await builder.ping()
    with pytest.raises(Unavailable):
        await builder.find(Image(request.name, request.tag, "sha256:1"))
    async with a_context("RUN true") as context:
        with pytest.raises(Unavailable):
            await builder.build(request, context, FakeLog())


async def test_a_ping_succeeds_when_the_engine_answers(bench: Bench) -> None:
    await bench.builder.ping()


async def test_trimming_to_a_large_limit_frees_nothing(bench: Bench, base_images: Engine) -> None:
    before = {image["Id"] for image in base_images.api().get("/images/json?all=0")}
    assert await bench.builder.trim(10**15) >= 0
    assert before <= {image["Id"] for image in base_images.api().get("/images/json?all=0")} | before
    assert BUSYBOX in str(base_images.api().get("/images/json"))


async def test_without_the_cache_every_step_runs_again(bench: Bench) -> None:
    log = FakeLog()
    async with a_context(f"RUN echo {bench.instance} && echo ran $((20+1)) times") as context:
        for fresh in (False, False, True):
            await bench.builder.build(replace(a_request(bench.instance), fresh=fresh), context, log)
    assert log.text.count("ran 21 times") == 2


async def test_each_build_has_its_own_args_though_the_steps_before_them_are_cached(
    bench: Bench, base_images: Engine
) -> None:
    requests = [a_request(bench.instance) for _ in range(2)]
    async with a_context("ARG COMMIT\nENV BUILT=$COMMIT") as context:
        images_of = [await bench.builder.build(request, context, FakeLog()) for request in requests]
    found = [base_images.api().get(f"/images/{image.id}/json")["Config"]["Env"] for image in images_of]
    assert [f"BUILT={request.commit}" in env for request, env in zip(requests, found, strict=True)] == [True, True]


async def test_an_image_names_the_bases_that_it_was_built_on(bench: Bench, base_images: Engine) -> None:
    text = f"ARG WHICH=latest\nFROM {BUSYBOX.partition(':')[0]}:$WHICH AS one\nFROM one\nRUN true\nFROM {BUSYBOX}\n"
    image, base = await built(bench, text), base_images.api().get(f"/images/{BUSYBOX}/json")
    # Podman, and the containerd store, know the digest also of an image that no registry has.
    digests = dict(familiar(each).split("@") for each in base["RepoDigests"] or ())
    digest = digests.get(BUSYBOX.partition(":")[0], base["Id"])
    assert image.bases == (Base(BUSYBOX, digest),)


async def test_bases_are_pulled_when_that_is_asked_for(bench: Bench, base_images: Engine, registry: Registry) -> None:
    api, name = base_images.api(timeout=60), f"{registry.address}/base-{bench.instance}"
    for number in range(2):
        images.build(api, f"{name}:latest", f"FROM {BUSYBOX}\nRUN echo {number} > /base-{bench.instance}\n", {})
        async with EngineClient(base_images.url) as engine:
            assert [each async for each in engine.images.push(name, "latest", None)]
        api.delete(f"/images/{name}:latest")  # only the registry has it now
    log, request = FakeLog(), a_request(bench.instance)
    images.build(api, f"{name}:latest", f"FROM {BUSYBOX}\nRUN echo old > /base-{bench.instance}\n", {})
    async with a_context(f"FROM {name}\nRUN cat /base-{bench.instance}\n") as context:
        await bench.builder.build(request, context, log)
        pulled = await bench.builder.build(replace(a_request(bench.instance), pull=True), context, log)
    assert f"pulled the base image {name}\n" in log.text
    assert pulled.bases == (Base(name, registry.digest(f"base-{bench.instance}")),)
    brought = api.get(f"/images/{name}:latest/json")["Id"]
    await bench.builder.trim(0)
    assert api.get(f"/images/{brought}/json") is not None
    await bench.builder.remove(pulled)
    api.post(f"/images/{BUSYBOX}/tag?repo={quote(name, safe='')}&tag=latest")  # as the next pull takes the name away
    await bench.builder.trim(0)
    assert api.get(f"/images/{brought}/json") is None
    api.delete(f"/images/{name}:latest?force=1")


async def test_a_base_that_cannot_be_pulled_is_used_as_it_is_there(bench: Bench) -> None:
    log = FakeLog()
    async with a_context(f"FROM {BUSYBOX}\nRUN true\n") as context:
        image = await bench.builder.build(replace(a_request(bench.instance), pull=True), context, log)
    assert f"cannot pull the base image {BUSYBOX}, so the one that is there is used: " in log.text
    assert [base.name for base in image.bases] == [BUSYBOX]
