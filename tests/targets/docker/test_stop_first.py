"""Apps that cannot run twice: here a lock that a second one does not get, on a volume of both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.errors import RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog, FakeMade
from tests.targets.docker.traffic import answer
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]

Locked = Callable[..., App]


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    """The app of a deploy, which ends at once with code 4 while another one of it runs."""
    port, volume = free_port(), tmp_path / "lock"
    volume.mkdir()

    def app(number: int, docker: Mapping[str, Any] | None = None, **env: str) -> App:
        env = {"LOCK": "/lock/file", **env}
        return an_app(number, listen=port, start="stop-first", env=env, volumes=[f"{volume}:/lock"], **(docker or {}))

    return app


async def roll_out(target: DockerTarget, app: App, number: int, image: Image) -> FakeProgress:
    progress = FakeProgress(ReadyGate())
    await target.roll_out(app, a_deploy(number, image), image, progress)
    return progress


async def answers(app: App) -> str:
    assert app.gateway.listen is not None
    return (await answer(app.gateway.listen)).text


async def interrupted(target: DockerTarget, app: App, number: int, image: Image) -> None:
    """What a kill leaves of a roll-out in whose midst it came: the old one is stopped, the candidate runs, nothing serves."""
    (old,) = await target._containers.of(app)
    await target._gateway.stop_traffic(app.name)
    await target._containers.set_restart_policy(old.id, "no")
    await target._containers.stop(old.id)
    made = await target._containers.make(app, a_deploy(number, image), image)
    await target._containers.start(app, number, made)


def state(engine: Engine, number: int, instance: str) -> str:
    found: dict[str, Any] | None = engine.api().get(f"/containers/deployd-{instance}-{NAME}-{number}/json")
    return str(found["State"]["Status"]) if found else "gone"


async def test_two_containers_never_run_together_and_the_gap_is_logged(
    target: DockerTarget, web: Image, locked: Locked, docker_engine: Engine, instance: str
) -> None:
    await roll_out(target, locked(1), 1, web)

    progress = await roll_out(target, locked(2), 2, web)

    assert progress.said == ["candidate", "rolling_out", "stop the old release", "prove", "cut-over", "live"]
    assert "nothing served for" in progress.book.text
    assert await answers(locked(2)) == commit(2)
    assert state(docker_engine, 1, instance) == "exited"


async def test_the_old_release_is_restored_when_the_new_one_fails(
    target: DockerTarget, web: Image, locked: Locked
) -> None:
    await roll_out(target, locked(1), 1, web)

    with pytest.raises(RolloutFailed, match="exited with code 3"):
        await roll_out(target, locked(2, FAULT="crash"), 2, web)

    assert await answers(locked(1)) == commit(1)
    assert await target.serving(locked(1)) == 1


async def test_a_candidate_left_by_a_crash_is_stopped_before_the_old_release_is_restored(
    target: DockerTarget,
    web: Image,
    locked: Locked,
    docker_engine: Engine,
    engine: str,
    instance: str,
    section: GatewaySection,
    tmp_path: Path,
) -> None:
    await roll_out(target, locked(1), 1, web)
    await interrupted(target, locked(2), 2, web)

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as later:
        assert await later.serving(locked(1)) is None
        await later.restore(locked(1), a_deploy(1, web))
        assert await answers(locked(1)) == commit(1)
        assert state(docker_engine, 2, instance) == "exited"
        await later.sweep(locked(1), 1, FakeLog())
        assert state(docker_engine, 2, instance) == "gone"
        await roll_out(later, locked(2), 2, web)
        assert await answers(locked(2)) == commit(2)


async def test_a_release_without_traffic_is_restored_when_the_next_one_fails(
    target: DockerTarget, web: Image, locked: Locked, docker_engine: Engine, instance: str
) -> None:
    await roll_out(target, locked(1), 1, web)
    docker_engine.api().post(f"/containers/deployd-{instance}-{NAME}-1/stop?t=2")

    with pytest.raises(RolloutFailed, match="exited with code 3"):
        await roll_out(target, locked(2, FAULT="crash"), 2, web)

    assert await answers(locked(1)) == commit(1)


async def test_a_release_that_runs_without_traffic_is_stopped_before_the_next_one_starts(
    target: DockerTarget, web: Image, locked: Locked
) -> None:
    await roll_out(target, locked(1), 1, web)
    await target._gateway.stop_traffic(NAME)

    await roll_out(target, locked(2), 2, web)

    assert await answers(locked(2)) == commit(2)


async def test_when_a_release_cannot_be_restored_the_present_one_continues_to_serve(
    target: DockerTarget, web: Image, locked: Locked, docker_engine: Engine, instance: str
) -> None:
    await roll_out(target, locked(1), 1, web)
    await roll_out(target, locked(2), 2, web)
    docker_engine.api().delete(f"/containers/deployd-{instance}-{NAME}-1?force=1")

    with pytest.raises(RolloutFailed, match="exited with code 3"):
        await target.restore(locked(1, FAULT="crash"), a_deploy(1, web))

    assert await answers(locked(2)) == commit(2)
    assert await target.serving(locked(2)) == 2


async def test_on_the_host_network_the_next_release_uses_the_same_port_and_is_restored_after_a_kill(
    target: DockerTarget, web: Image, locked: Locked, docker_engine: Engine, instance: str
) -> None:
    own = free_port()
    on_host = {"network": "host", "port": own}
    for number in (1, 2):
        await roll_out(target, locked(number, on_host, PORT=str(own)), number, web)
        assert await answers(locked(number)) == commit(number)
        assert await target.serving(locked(number, on_host)) == number

    app = locked(2, on_host, PORT=str(own))
    docker_engine.api().post(f"/containers/deployd-{instance}-{NAME}-2/kill")
    assert (await target.health(app, a_deploy(2, web))).state == "down"
    await target.restore(app, a_deploy(2, web))
    assert await answers(app) == commit(2)
    assert state(docker_engine, 1, instance) == "exited"


async def test_with_the_gateway_on_a_bridge_an_app_on_the_host_network_is_refused(
    engine: str, instance: str, web: Image, locked: Locked, tmp_path: Path
) -> None:
    section = GatewaySection(network="bridge", bind="127.0.0.1")
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        with pytest.raises(RolloutFailed, match="on a bridge and cannot reach the host's network"):
            await roll_out(target, locked(1, {"network": "host"}), 1, web)
