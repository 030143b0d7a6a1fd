"""Why a candidate on a real engine does not answer."""

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.domain import Image
from deployd.errors import RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.targets.docker import world


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("cat", [True, False], ids=["by exec", "by /proc"])
async def test_a_candidate_at_another_port_fails_with_that_port(
    target: DockerTarget, docker_engine: Engine, web: Image, cat: bool
) -> None:
    extra = "EXPOSE 5000 9000\n" + ("" if cat else "RUN rm -f $(command -v cat)\n")
    image = world.build(docker_engine, f"elsewhere-{cat}", extra).id
    app = world.an_app(1, listen=free_port(), port=7000, ready={"within": "1s"})
    with pytest.raises(RolloutFailed) as failed:
        await target.roll_out(app, world.a_deploy(1, web), Image(world.WEB, "x", image), FakeProgress(ReadyGate()))
    assert failed.value.message.endswith(
        "/ready: connection refused; the app listens on 5000, [app.docker] port is 7000; its image EXPOSEs 5000, 9000"
    )
    assert failed.value.hint == "set port = 5000 in [app.docker]"


@pytest.mark.engine
@pytest.mark.slow
async def test_a_candidate_on_loopback_fails_with_what_to_change(target: DockerTarget, web: Image) -> None:
    serve = ["python", "-m", "http.server", "5000", "--bind", "127.0.0.1"]
    app = world.an_app(1, listen=free_port(), command=serve, ready={"within": "2s"})
    with pytest.raises(RolloutFailed) as failed:
        await target.roll_out(app, world.a_deploy(1, web), web, FakeProgress(ReadyGate()))
    assert "the app listens on 127.0.0.1:5000, which only its own container reaches" in failed.value.message
    assert failed.value.hint == "let it listen on 0.0.0.0:5000; many servers have --host 0.0.0.0"


@pytest.mark.engine
@pytest.mark.slow
async def test_a_candidate_that_listens_on_nothing_fails_with_what_it_printed(target: DockerTarget, web: Image) -> None:
    waits = ["sh", "-c", "echo waiting for the database; sleep 60"]
    app = world.an_app(1, listen=free_port(), command=waits, ready={"within": "1s"}, init=True)
    with pytest.raises(RolloutFailed) as failed:
        await target.roll_out(app, world.a_deploy(1, web), web, FakeProgress(ReadyGate()))
    assert failed.value.message.endswith("the app listens on no port, [app.docker] port is 5000")
    assert failed.value.hint == "waiting for the database"
