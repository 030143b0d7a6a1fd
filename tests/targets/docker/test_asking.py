"""What people and the pipeline ask of what runs: output, commands, files, a description, images, removal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.errors import RequestRefused, RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.ports.gate import Candidate
from deployd.targets.docker.target import DockerTarget
from deployd.terminal import Size, Terminal
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeMade
from tests.targets.docker.test_rollout import roll_out
from tests.targets.docker.world import NAME, WEB, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_a_running_release_has_a_description_output_and_runs_commands(
    target: DockerTarget, web: Image, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    app = an_app(1, listen=port)

    assert [line async for line in target.output(app, follow=False, tail=5)] == [f"starting {commit(1)}\n".encode()]
    code, printed = await execute(target, 'echo "out $COMMIT"; echo err >&2; exit 3')
    said = ["err", f"out {commit(1)}"]  # on two pipes: which is read first is open
    assert (code, sorted(printed.splitlines())) == (3, said)
    assert await execute(target, "true") == (0, "")

    terminal = Terminal(Size(33, 99))
    terminal.put(b"exit 4\n")
    code, printed = await execute(
        target, "until stty size | grep -q 33; do :; done; stty size; read line; $line", terminal
    )
    assert (code, "33 99" in printed.splitlines()) == (4, True)
    described = await target.describe(app)
    assert described["serving"] == 1
    assert described["containers"][0]["name"] == f"deployd-{instance}-{NAME}-1"
    assert described["containers"][0]["status"] == "running"
    assert await target.ping() == {"engine": "ok", "gateway": "ok"}


async def test_output_is_followed_until_the_release_ends(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    output: AsyncIterator[bytes] = target.output(an_app(1, listen=port), follow=True, tail=None)
    assert await anext(output) == f"starting {commit(1)}\n".encode()

    stop = asyncio.create_task(
        asyncio.to_thread(docker_engine.api().post, f"/containers/deployd-{instance}-{NAME}-1/stop?t=5")
    )

    assert [line async for line in output] == [b"stopped\n"]
    await stop


async def test_a_golden_file_is_read_from_the_image(target: DockerTarget, web: Image) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    candidate = Candidate(an_app(1, listen=port), a_deploy(1, web), "", web)
    assert b"COMMIT" in (await target.read(candidate, "app.py") or b"")
    assert await target.read(candidate, "golden.json") is None
    assert await target.read(candidate, ".") is None


async def test_an_app_without_a_running_release_has_no_output_and_runs_no_command(target: DockerTarget) -> None:
    app = an_app(1, listen=free_port())
    with pytest.raises(RequestRefused, match="has no running release"):
        await anext(target.output(app, follow=False, tail=1))
    with pytest.raises(RequestRefused, match="has no replicas"):
        await target.scale(app, 2)
    with pytest.raises(RequestRefused, match="has no running release"):
        await execute(target, "true")
    assert await target.serving(app) is None


async def test_without_an_engine_everything_is_unavailable(tmp_path: Path) -> None:
    async with DockerTarget(
        "nowhere", GatewaySection(), tmp_path, FakeMade(), f"unix://{tmp_path}/docker.sock"
    ) as target:
        health = await target.ping()
    assert set(health) == {"engine", "gateway"}
    assert "ok" not in health.values()


async def test_a_secret_reaches_the_container_and_no_log(
    target: DockerTarget, web: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, progress = free_port(), FakeProgress(ReadyGate())
    monkeypatch.setenv("IRIS_TOKEN", "hush-hush")
    app = an_app(1, listen=port, env_secrets={"TOKEN": "env:IRIS_TOKEN"}, memory="128MiB", cpus=0.5)

    await target.roll_out(app, a_deploy(1, web), web, progress)

    assert (await execute(target, 'test "$TOKEN" = hush-hush'))[0] == 0
    assert "hush-hush" not in progress.book.text


async def test_an_image_that_is_gone_fails_the_roll_out(target: DockerTarget) -> None:
    with pytest.raises(RolloutFailed, match="no longer on the engine"):
        await roll_out(target, 1, Image(WEB, "never-built", ""), free_port())


async def test_removing_the_last_app_leaves_nothing(target: DockerTarget, web: Image, leaks: Leaks) -> None:
    await roll_out(target, 1, web, free_port())
    await target.remove("unknown")
    assert leaks.present() != []

    await target.remove(NAME)

    assert leaks.present() == []


async def execute(target: DockerTarget, script: str, terminal: Terminal | None = None) -> tuple[int, str]:
    out: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        out.append(chunk)

    code = await target.execute(an_app(1, listen=1), ["sh", "-c", script], keep, terminal)
    return code, b"".join(out).decode()
