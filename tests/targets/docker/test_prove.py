"""A commit proven on a real engine: in a container that never gets traffic, and of which nothing is left."""

import asyncio
import contextlib

import httpx
import pytest
from msgspec.structs import replace

from deployd.bringup.ports import free_port
from deployd.domain import Image
from deployd.errors import RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_a_proof_serves_nothing_and_leaves_nothing_however_it_ends(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port = free_port()
    live = an_app(1, listen=port)
    await target.roll_out(live, a_deploy(1, web), web, FakeProgress(ReadyGate()))

    passed = FakeProgress(ReadyGate())
    app, deploy = an_app(2, listen=port), replace(a_deploy(2, web), prove=True)
    await target.prove(app, deploy, web, passed)
    assert passed.said == ["candidate", "prove"]

    with pytest.raises(RolloutFailed, match="says commit"):
        await target.prove(app, replace(deploy, number=3, commit=commit(4)), web, FakeProgress(ReadyGate()))

    stopped = FakeProgress(ReadyGate())
    slow = an_app(5, listen=port, ready={"path": "/nowhere", "within": "60s"})
    proving = asyncio.create_task(target.prove(slow, replace(a_deploy(5, web), prove=True), web, stopped))
    await stopped.proving.wait()
    proving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await proving

    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).text == commit(1)
    assert await target.serving(live) == 1
    assert [one for one in leaks.present() if NAME in one and one.startswith("container")] == [
        f"container deployd-{instance}-{NAME}-1"
    ]
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")
