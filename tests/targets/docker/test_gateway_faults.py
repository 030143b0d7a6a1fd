"""What the traffic does when HAProxy or its file goes away, a port is taken, or the gateway is made anew."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.domain import GateResult, Health, Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.gates.ready import ReadyGate
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.targets.docker.target import DockerTarget
from deployd.tasks import beside
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog, FakeMade
from tests.targets.docker.load import Load
from tests.targets.docker.test_rollout import roll_out
from tests.targets.docker.traffic import answer, answered, answered_503, watched
from tests.targets.docker.world import NAME, a_deploy, an_app, commit
from tests.testbed.images import BUSYBOX

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_haproxy_restarted_without_deployd_serves_the_present_release(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    await roll_out(target, 2, web, port)

    docker_engine.api().post(f"/containers/deployd-gateway-{instance}/restart?t=0")

    await answered(port, commit(2))
    assert await _serving(target, an_app(2, listen=port)) == 2


async def _serving(target: DockerTarget, app: App) -> int | None:
    """What the gateway says, once its master's socket is open too: that comes a moment after its ports."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(Unavailable):
                return await target.serving(app)
            await asyncio.sleep(0.05)


async def test_a_removed_gateway_is_created_again(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)

    async with watched(target):
        docker_engine.api().delete(f"/containers/deployd-gateway-{instance}?force=1")
        await answered(port, commit(1))

    assert await _serving(target, an_app(1, listen=port)) == 1
    assert await target.ping() == {"engine": "ok", "gateway": "ok"}


class _Breaking:
    """A gate that the candidate passes, while something breaks."""

    name = "breaking"

    def __init__(self, breaks: Callable[[], object]) -> None:
        self._breaks = breaks

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        result = await ReadyGate().ask(candidate, context, log)
        await asyncio.to_thread(self._breaks)
        return result


@pytest.mark.parametrize("how", ["killed until the engine waits before it starts it again", "stopped"])
@pytest.mark.parametrize("when", ["before", "during"])
async def test_a_roll_out_starts_a_haproxy_again_that_ended_before_or_during_it(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str, how: str, when: str
) -> None:
    port, api, gateway = free_port(), docker_engine.api(), f"/containers/deployd-gateway-{instance}"
    await roll_out(target, 1, web, port)

    def end_it() -> None:
        if how == "stopped":
            api.post(f"{gateway}/stop?t=0")
            return
        until = time.monotonic() + 60  # a thread that went on would keep the loop of the test from ending
        for _ in range(5):  # a Docker Engine waits twice as long each time, Podman never
            while (state := api.get(f"{gateway}/json")["State"])["Restarting"] or not state["Pid"]:
                assert time.monotonic() < until
                time.sleep(0.01)
            with contextlib.suppress(ProcessLookupError):
                os.kill(state["Pid"], signal.SIGKILL)
            while api.get(f"{gateway}/json")["State"]["Pid"] == state["Pid"]:
                assert time.monotonic() < until
                time.sleep(0.01)

    if when == "before":
        await asyncio.to_thread(end_it)
    progress = FakeProgress(ReadyGate() if when == "before" else _Breaking(end_it))
    await target.roll_out(an_app(2, listen=port), a_deploy(2, web), web, progress)

    assert progress.live is not None
    assert progress.live.number == 1
    assert (await answer(port)).text == commit(2)


async def test_a_truncated_file_is_written_again(
    target: DockerTarget, web: Image, engine: str, instance: str, section: GatewaySection, tmp_path: Path
) -> None:
    port, file = free_port(), tmp_path / "gateway" / "config" / "haproxy.cfg"
    await roll_out(target, 1, web, port)
    whole = file.read_text()
    file.write_text(whole[:50])

    async with Load(port) as load, DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as later:
        later.expect([an_app(1, listen=port)])
        async with watched(later):
            while file.read_text() != whole:
                await load.more(20)

    assert load.failures == []
    assert load.answers[-1].body == commit(1)


async def test_a_state_directory_that_was_moved_or_deleted_under_the_gateway_gets_a_new_one(
    target: DockerTarget, web: Image, engine: str, instance: str, section: GatewaySection, tmp_path: Path
) -> None:
    port, made, moved = free_port(), FakeMade(), tmp_path / "moved"
    await roll_out(target, 1, web, port)
    (tmp_path / "gateway").rename(moved)
    async with Load(port) as load, DockerTarget(instance, section, moved, made, engine) as later:
        assert await later.serving(an_app(1, listen=port)) == 1
        await load.more(100)
    assert len(load.failures) <= load.keeping + load.renewing  # those that the former one had not accepted yet
    assert load.answers[-1].body == commit(1)

    shutil.rmtree(moved)
    async with DockerTarget(instance, section, moved, made, engine) as later:
        assert await later.serving(an_app(1, listen=port)) is None
        await roll_out(later, 2, web, port)
        assert (await answer(port)).text == commit(2)
        assert await later.ping() == {"engine": "ok", "gateway": "ok"}


async def test_a_switch_that_was_not_written_to_the_file_is_read_from_haproxy_at_the_start(
    target: DockerTarget, web: Image, engine: str, instance: str, section: GatewaySection, tmp_path: Path
) -> None:
    port, file = free_port(), tmp_path / "gateway" / "config" / "haproxy.cfg"
    await roll_out(target, 1, web, port)
    before = file.read_text()
    await roll_out(target, 2, web, port)
    after = file.read_text()
    file.write_text(before)

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as later:
        assert await later.serving(an_app(2, listen=port)) == 2

    assert file.read_text() == after


async def test_a_port_in_use_fails_the_roll_out_and_other_apps_continue_to_serve(
    target: DockerTarget, web: Image
) -> None:
    port, taken = free_port(), free_port()
    await roll_out(target, 1, web, port)
    other = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", taken)

    app = an_app(1, name="other", listen=taken)
    async with other, Load(port) as load:
        with pytest.raises(RolloutFailed, match=f"port {taken} is in use by another program"):
            await target.roll_out(app, a_deploy(1, web, app="other"), web, FakeProgress(ReadyGate()))
        await load.more(200)

    assert load.failures == []


async def test_a_port_in_use_is_told_and_keeps_no_other_app_from_its_own(target: DockerTarget, web: Image) -> None:
    port, taken, free = free_port(), free_port(), free_port()
    await roll_out(target, 1, web, port)
    moved, other = an_app(1, listen=taken), an_app(1, name="other", listen=free)
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", taken), watched(target):
        target.expect([moved, other])
        await answered_503(free)
        reason = f"port {taken} is in use by another program"
        assert await target.health(moved, a_deploy(1, web)) == Health(
            "unready", f"the gateway does not listen for it: {reason}"
        )
        assert (await target.ping())["gateway"] == f"warning: {NAME}: {reason}"
        await answered(port, commit(1))
    async with watched(target):
        target.expect([moved])
        await answered(taken, commit(1))
        assert (await target.ping())["gateway"] == "ok"


async def test_a_new_app_port_is_opened_under_load_without_a_failed_request(target: DockerTarget, web: Image) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)

    async with Load(port) as load, watched(target):
        for more in range(1, 6):
            apps = [an_app(1, name=f"other-{number}", listen=free_port()) for number in range(more)]
            target.expect([an_app(1, listen=port), *apps])
            await answered_503(apps[-1].gateway.listen or 0)
            await load.more(300)

    assert load.failures == []


async def test_a_release_counts_as_serving_while_the_gateway_reloads(target: DockerTarget, web: Image) -> None:
    port, told = free_port(), set[tuple[Health, str]]()
    await roll_out(target, 1, web, port)
    app = an_app(1, listen=port)

    async def ask() -> None:
        while True:
            told.add((await target.health(app, a_deploy(1, web)), (await target.ping())["gateway"]))

    async with watched(target), beside(ask()):
        for more in range(1, 6):
            apps = [an_app(1, name=f"other-{number}", listen=free_port()) for number in range(more)]
            target.expect([app, *apps])
            await answered_503(apps[-1].gateway.listen or 0)

    assert told == {(Health(), "ok")}


async def test_the_gateway_is_upgraded_under_load_without_a_failed_request(
    docker_engine: Engine, engine: str, instance: str, web: Image, tmp_path: Path, leaks: Leaks
) -> None:
    name, port = f"deployd-test/haproxy:{instance}", free_port()
    section = GatewaySection(image=name, bind="127.0.0.1")
    api = docker_engine.api(timeout=60)
    images.build(api, name, f"FROM {images.HAPROXY}\nLABEL io.deployd.instance={instance} version=1\n", {})

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await roll_out(target, 1, web, port)
        before = api.get(f"/containers/deployd-gateway-{instance}/json")["Image"]
        images.build(api, name, f"FROM {images.HAPROXY}\nLABEL io.deployd.instance={instance} version=2\n", {})
        async with Load(port) as load:
            await load.more(500)
            async with watched(target):
                while (found := api.get(f"/containers/deployd-gateway-{instance}/json")) is None or found[
                    "Image"
                ] == before:
                    await load.more(50)
                while api.get(f"/containers/deployd-gateway-{instance}-old/json") is not None:
                    await load.more(50)
            await roll_out(target, 2, web, port)
            await target.sweep(an_app(2, listen=port), 2, FakeLog())
            await load.more(500)

    assert load.failures == []
    assert load.went_back([commit(1), commit(2)]) == []
    leaks.expect("container *", "network *", "image *")


async def test_an_upgrade_to_an_image_that_does_not_start_keeps_the_old_gateway(
    docker_engine: Engine, engine: str, instance: str, web: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, port, api = f"deployd-test/haproxy:{instance}", free_port(), docker_engine.api(timeout=60)
    section = GatewaySection(image=name, bind="127.0.0.1")
    images.build(api, name, f"FROM {images.HAPROXY}\nLABEL io.deployd.instance={instance}\n", {})

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await roll_out(target, 1, web, port)
        before = api.get(f"/containers/deployd-gateway-{instance}/json")["Id"]
        images.build(api, name, f"FROM {BUSYBOX}\nLABEL io.deployd.instance={instance}\n", {})
        async with Load(port) as load, watched(target):
            while "the gateway keeps its old settings" not in caplog.text:
                await load.more(50)
        assert (await answer(port)).text == commit(1)

    assert load.failures == []
    assert api.get(f"/containers/deployd-gateway-{instance}/json")["Id"] == before
