"""What the traffic does when a container or the daemon goes away, and how it comes right again."""

from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.errors import RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog, FakeMade
from tests.targets.docker.load import Load
from tests.targets.docker.test_rollout import roll_out
from tests.targets.docker.traffic import answer, answered
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_a_restarted_daemon_knows_what_serves(
    target: DockerTarget, web: Image, engine: str, instance: str, section: GatewaySection, tmp_path: Path
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    await roll_out(target, 2, web, port)

    async with Load(port) as load, DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as later:
        assert await later.serving(an_app(2, listen=port)) == 2
        await later.sweep(an_app(2, listen=port), 2, FakeLog())
        await load.more(100)

    assert load.failures == []


async def test_a_deploy_that_already_serves_is_proven_again_in_the_same_container(
    target: DockerTarget, web: Image
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)

    async with Load(port) as load:
        await roll_out(target, 1, web, port)
        await load.more(100)

    assert load.failures == []


async def test_a_release_whose_container_is_gone_is_restored_from_its_image(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    docker_engine.api().delete(f"/containers/deployd-{instance}-{NAME}-1?force=1")
    assert await target.serving(an_app(1, listen=port)) is None
    assert (await answer(port)).status_code == 503

    await target.restore(an_app(1, listen=port), a_deploy(1, web))
    await target.restore(an_app(1, listen=port), a_deploy(1, web))

    assert (await answer(port)).text == commit(1)
    assert await target.serving(an_app(1, listen=port)) == 1


async def test_a_stopped_release_is_restored_at_its_own_address(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    before = (await target.describe(an_app(1, listen=port)))["containers"][0]["address"]
    docker_engine.api().post(f"/containers/deployd-{instance}-{NAME}-1/stop?t=1")

    await target.restore(an_app(1, listen=port), a_deploy(1, web))

    assert (await answer(port)).text == commit(1)
    assert (await target.describe(an_app(1, listen=port)))["containers"][0]["address"] == before


async def test_after_an_engine_restart_each_app_has_its_own_traffic(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    api, ports = docker_engine.api(), [free_port(), free_port()]
    names = [f"{NAME}-a", f"{NAME}-b"]
    for number, (name, port) in enumerate(zip(names, ports, strict=True), start=1):
        app = an_app(number, name=name, listen=port)
        await target.roll_out(app, a_deploy(number, web, app=name), web, FakeProgress(ReadyGate()))

    everything = [f"deployd-{instance}-{names[0]}-1", f"deployd-{instance}-{names[1]}-2", f"deployd-gateway-{instance}"]
    for container in everything:
        api.post(f"/containers/{container}/stop?t=0")
    for container in reversed(
        everything
    ):  # an engine starts them in an order of its own, and gives out addresses in it
        api.post(f"/containers/{container}/start")

    for number, port in enumerate(ports, start=1):
        await answered(port, commit(number))


async def test_a_crashed_release_is_started_again_by_the_engine(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)

    docker_engine.api().post(f"/containers/deployd-{instance}-{NAME}-1/kill")
    docker_engine.api().post(
        f"/containers/deployd-{instance}-{NAME}-1/start"
    )  # what the engine does by itself after its own restart

    await answered(port, commit(1))


async def test_a_candidate_left_by_a_crash_is_replaced(target: DockerTarget, web: Image, docker_engine: Engine) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    await roll_out(target, 2, web, port)
    await target.restore(an_app(1, listen=port), a_deploy(1, web))  # as if 2 had been interrupted

    await roll_out(target, 2, web, port)

    assert (await answer(port)).text == commit(2)


async def test_a_container_of_the_same_name_without_our_labels_is_not_touched(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    api = docker_engine.api()
    name = f"deployd-{instance}-{NAME}-1"
    api.post(f"/containers/create?name={name}", {"Image": web.id})
    try:
        with pytest.raises(RolloutFailed, match=f"the container {name} exists, but this deployd did not make it"):
            await roll_out(target, 1, web, free_port())
        assert api.get(f"/containers/{name}/json") is not None
    finally:
        api.delete(f"/containers/{name}?force=1")
