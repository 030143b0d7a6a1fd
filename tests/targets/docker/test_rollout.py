"""Roll-outs on a real engine behind a real HAProxy: what is served meanwhile, and what is left when they fail."""

import asyncio
import time
from typing import Any

import pytest

from deployd.bringup.ports import free_port
from deployd.domain import Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.gates.ready import ReadyGate
from deployd.ports.gate import Candidate
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog
from tests.targets.docker.load import Load
from tests.targets.docker.traffic import answer
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def roll_out(target: DockerTarget, number: int, image: Image, port: int, **docker: Any) -> FakeProgress:
    progress = FakeProgress(ReadyGate())
    app = an_app(number, listen=port, **docker)
    await target.roll_out(app, a_deploy(number, image), image, progress)
    return progress


async def test_a_release_gets_the_traffic_until_the_next_one_replaces_it(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port = free_port()

    first = await roll_out(target, 1, web, port)
    assert first.said == ["candidate", "prove", "cut-over", "rolling_out", "live"]
    assert (await answer(port)).text == commit(1)
    assert await target.serving(an_app(1, listen=port)) == 1

    await roll_out(target, 2, web, port)
    assert (await answer(port)).text == commit(2)
    await target.sweep(an_app(2, listen=port), 2, FakeLog())
    leaks.expect(f"container deployd-{instance}-{NAME}-2", "container deployd-gateway-*", "network deployd-*")
    assert f"container deployd-{instance}-{NAME}-1" not in leaks.present()


async def test_a_release_drains_at_its_own_port_after_the_configured_port_has_changed(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    moved = an_app(2, listen=port, port=5001, env={"PORT": "5001"})
    assert await target.serving(moved) == 1
    await target.roll_out(moved, a_deploy(2, web), web, FakeProgress(ReadyGate()))
    assert (await answer(port)).text == commit(2)
    log = FakeLog()
    await target.sweep(moved, 2, log)
    assert f"deployd-{instance}-{NAME}-1 drained and stopped" in log.text
    leaks.expect(f"container deployd-{instance}-{NAME}-2", "container deployd-gateway-*", "network deployd-*")


class Moved(FakeProgress):
    """Somebody gives the app another port while its candidate is proven."""

    def __init__(self, target: DockerTarget, port: int) -> None:
        super().__init__(ReadyGate())
        self._target = target
        self._port = port

    async def prove(self, candidate: Candidate) -> None:
        await self._target._gateway.ensure([an_app(1, listen=self._port)])
        await super().prove(candidate)


async def test_a_port_that_is_configured_during_a_roll_out_stays(target: DockerTarget, web: Image) -> None:
    port = free_port()
    app = an_app(1, listen=free_port(), gateway={"weights": [50, 100]})
    await target.roll_out(app, a_deploy(1, web), web, Moved(target, port))
    assert (await answer(port)).text == commit(1)


async def test_in_five_swaps_under_load_no_request_is_lost_and_no_old_release_answers_after_a_new_one(
    target: DockerTarget, web: Image
) -> None:
    port, log = free_port(), FakeLog()
    await roll_out(target, 1, web, port)

    async with Load(port, rest=0) as load:
        for number in range(2, 7):
            await load.more(1000)
            await roll_out(target, number, web, port)
            await target.sweep(an_app(number, listen=port), number, log)
        await load.more(1000)

    assert load.failures == []
    assert len(load.answers) >= 6_000
    assert load.went_back([commit(number) for number in range(1, 7)]) == []
    assert load.answers[-1].body == commit(6)


async def test_a_request_in_progress_is_answered_by_the_release_that_got_it(
    target: DockerTarget, web: Image, instance: str
) -> None:
    port, log = free_port(), FakeLog()
    await roll_out(target, 1, web, port)
    slow = asyncio.create_task(answer(port, "/?sleep=3"))
    await _in_progress(target, port)

    await roll_out(target, 2, web, port)
    assert (await answer(port)).text == commit(2)
    await target.sweep(an_app(2, listen=port), 2, log)

    assert (await slow).text == commit(1)
    assert f"deployd-{instance}-{NAME}-1 drained" in log.text


async def test_a_drain_ends_at_its_limit(target: DockerTarget, web: Image) -> None:
    port, log = free_port(), FakeLog()
    await roll_out(target, 1, web, port)
    endless = asyncio.create_task(answer(port, "/?sleep=600", "POST"))
    await _in_progress(target, port)

    await roll_out(target, 2, web, port)
    began = time.monotonic()
    await target.sweep(an_app(2, listen=port, drain="500ms"), 2, log)

    assert time.monotonic() - began < 8
    assert "1 requests were still in progress" in log.text
    assert (await endless).status_code == 502


async def test_a_sweep_that_was_cancelled_is_finished_by_the_next(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port, log = free_port(), FakeLog()
    await roll_out(target, 1, web, port)
    slow = asyncio.create_task(answer(port, "/?sleep=2"))
    await _in_progress(target, port)
    await roll_out(target, 2, web, port)

    sweep = asyncio.create_task(target.sweep(an_app(2, listen=port), 2, log))
    await asyncio.sleep(0.5)
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep
    await target.sweep(an_app(2, listen=port), 2, log)

    assert (await slow).text == commit(1)
    leaks.expect(f"container deployd-{instance}-{NAME}-2", "container deployd-gateway-*", "network deployd-*")


async def test_a_crash_at_start_ends_the_gates_at_once_and_shows_the_last_lines(
    target: DockerTarget, web: Image
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    began = time.monotonic()

    with pytest.raises(RolloutFailed, match="exited with code 3") as failed:
        await roll_out(target, 2, web, port, env={"FAULT": "crash", "COMMIT": commit(2)})

    assert time.monotonic() - began < 10
    assert "no model file" in failed.value.hint
    assert (await answer(port)).text == commit(1)


async def test_a_container_that_never_gets_ready_fails_with_the_reason(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    app = an_app(2, listen=port, ready={"within": "2s"}, env={"FAULT": "never-ready"})

    with pytest.raises(RolloutFailed, match="not ready within 2 s: /ready: 503: the model is not loaded") as failed:
        await target.roll_out(app, a_deploy(2, web), web, FakeProgress(ReadyGate()))

    assert commit(2) in failed.value.hint
    assert (await answer(port)).text == commit(1)
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")


async def test_a_missing_image_fails_the_roll_out_and_the_hint_is_to_deploy_again(
    target: DockerTarget, web: Image
) -> None:
    with pytest.raises(RolloutFailed, match=f"the image of {NAME}/1 is no longer on the engine") as failed:
        await roll_out(target, 1, Image("deployd/web", commit(1), f"sha256:{'0' * 64}"), free_port())
    assert failed.value.hint == "deploy its commit again"


async def test_a_cancelled_candidate_leaves_nothing_behind(target: DockerTarget, web: Image, leaks: Leaks) -> None:
    port, progress = free_port(), FakeProgress(ReadyGate())
    app = an_app(1, listen=port, env={"FAULT": "never-ready"})
    rollout = asyncio.create_task(target.roll_out(app, a_deploy(1, web), web, progress))
    await progress.proving.wait()

    rollout.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rollout

    leaks.expect("container deployd-gateway-*", "network deployd-*")


async def test_a_waiting_newer_push_stops_the_cut_over(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port, progress = free_port(), FakeProgress(ReadyGate())
    await roll_out(target, 1, web, port)
    progress.outrun = True

    with pytest.raises(asyncio.CancelledError):
        await target.roll_out(an_app(2, listen=port), a_deploy(2, web), web, progress)

    assert (await answer(port)).text == commit(1)
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")


async def test_a_release_that_cannot_be_recorded_does_not_serve(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port, progress = free_port(), FakeProgress(ReadyGate())
    await roll_out(target, 1, web, port)
    progress.record_fails = True

    async with Load(port) as load:
        with pytest.raises(Unavailable, match="the disk is full"):
            await target.roll_out(an_app(2, listen=port), a_deploy(2, web), web, progress)
        await load.more(100)

    assert load.failures == []
    assert load.answers[-1].body == commit(1)
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")


async def _in_progress(target: DockerTarget, port: int) -> None:
    """Until HAProxy counts a request."""
    while True:
        described = await target.describe(an_app(1, listen=port))
        if any(container["requests_in_progress"] for container in described["containers"]):
            return
