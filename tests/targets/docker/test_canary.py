"""Canaries on a real engine behind a real HAProxy, under load: who is asked what, and what becomes of bad candidates."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from deployd.bringup.ports import free_port
from deployd.config.daemon import GatewaySection
from deployd.domain import GateResult, Image
from deployd.errors import RolloutFailed
from deployd.gates.ready import ReadyGate
from deployd.gateway.share import LOAN_SECONDS
from deployd.judge.traffic import Window
from deployd.ports.gate import Candidate
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeMade
from tests.targets.docker.load import Load
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WEIGHTS = {"weights": [20, 50, 100], "step": "2s"}
LARGE = [50, 80, 100]  # with these, a busy machine too sends as many requests in a step as are judged


class Watched(FakeProgress):
    """Its `trying` is set when the canary has begun."""

    def __init__(self) -> None:
        super().__init__(ReadyGate())
        self.trying = asyncio.Event()

    async def tell(self, step: str, text: str) -> None:
        await super().tell(step, text)
        self.trying.set()


class Forgetful(Watched):
    """The candidate gave its golden answers, and does no more."""

    async def prove_again(self, candidate: Candidate) -> None:
        await super().prove_again(candidate)
        raise RolloutFailed("the golden gate, asked again in the canary, refused it")


async def roll_out(
    target: DockerTarget, number: int, image: Image, port: int, progress: Watched | None = None, **gateway: Any
) -> Watched:
    progress, fault, drain = progress or Watched(), gateway.pop("fault", ""), gateway.pop("drain", "10s")
    app = an_app(number, listen=port, gateway={**WEIGHTS, **gateway}, env={"FAULT": fault}, drain=drain)
    await target.roll_out(app, a_deploy(number, image), image, progress)
    return progress


def only(progress: FakeProgress) -> GateResult:
    (result,) = progress.verdicts
    assert (result.name, result.moment) == ("canary", "canary")
    return result


async def test_the_first_release_has_no_canary_and_the_next_gets_its_shares_with_no_request_lost(
    target: DockerTarget, web: Image
) -> None:
    port = free_port()
    first = await roll_out(target, 1, web, port)
    assert first.said == ["candidate", "prove", "cut-over", "rolling_out", "live"]

    async with Load(port) as load:
        await load.more(200)
        second = await roll_out(target, 2, web, port, weights=LARGE)
        await load.more(10)  # those that were in progress
        at_the_end = len(load.answers)
        await load.more(300)

    assert load.failures == []
    result = only(second)
    assert second.said == ["candidate", "prove", "canary", "cut-over", "rolling_out", "live"], result.detail
    assert {answer.body for answer in load.answers[at_the_end:]} == {commit(2)}
    assert result.verdict == "passed"
    assert re.match(
        r"50 %: [\d,]+ requests, 0 errors, p95 [\d.]+ ms \(old release: [\d,]+ requests, 0 err", result.detail
    )
    new, old = result.figures["requests"], result.figures["old_requests"]
    assert new > 100
    assert 0.45 < new / (new + old) < 0.85


async def test_a_candidate_that_errs_loses_its_share_at_once_and_the_figures_say_why(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    progress = Watched()

    async with Load(port) as load:
        await load.more(200)
        with pytest.raises(RolloutFailed, match=r"the canary refused it at 20 %: it errs more often") as failed:
            await roll_out(target, 2, web, port, progress, fault="errs", step="10s")
        ended = time.monotonic()
        lost = len(load.failures)
        await load.more(500)

    assert set(load.failures) == {"500 the model is broken"}
    assert len(load.failures) == lost
    assert load.answers[-1].sent > ended
    result = only(progress)
    assert (result.verdict, result.figures["e_limit"]) == ("failed", 10_000)
    assert result.figures["e_value"] >= 10_000
    assert result.figures["errors"] >= 4
    assert result.detail in failed.value.message
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")


async def test_a_candidate_that_is_slow_is_refused_and_no_request_is_lost(target: DockerTarget, web: Image) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port)
    async with Load(port) as load:
        with pytest.raises(RolloutFailed, match=r"at 20 %: it is slower: its median is at least \d+ ms"):
            await roll_out(target, 2, web, port, progress, fault="slow", step="10s")
        await load.more(300)
    assert load.failures == []
    assert load.answers[-1].body == commit(1)
    assert only(progress).figures["p50_ms"] >= 100


async def test_a_candidate_that_never_answers_is_refused_for_the_time_that_its_requests_have_waited(
    target: DockerTarget, web: Image
) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port)
    async with Load(port, keeping=20, renewing=20) as load:
        with pytest.raises(RolloutFailed, match=r"at 20 %: it is slower: its median is at least [\d.]+ m?s, "):
            await roll_out(target, 2, web, port, progress, fault="hangs", step="10s", drain="100ms")
        await load.more(100)
    assert load.answers[-1].body == commit(1)
    assert only(progress).figures["waiting"] >= 20


async def test_a_candidate_that_ends_when_it_is_asked_fails_with_how_it_ended(target: DockerTarget, web: Image) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    async with Load(port) as load:
        with pytest.raises(RolloutFailed, match="exited with code 5"):
            await roll_out(target, 2, web, port, fault="ends", step="10s")
        lost = len(load.failures)
        await load.more(300)
    assert len(load.failures) == lost
    assert lost < 20


async def test_a_rollback_has_no_canary_and_a_lost_map_is_written_again(
    target: DockerTarget, web: Image, tmp_path: Path
) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port)
    (tmp_path / "gateway" / "config" / "canary.map").unlink()
    await target._gateway.reconcile()
    assert (tmp_path / "gateway" / "config" / "canary.map").read_text() == f"{NAME} 0\n"
    back = replace(a_deploy(2, web), rollback_to=1)
    await target.roll_out(an_app(2, listen=port, gateway=WEIGHTS), back, web, progress)
    assert progress.said == ["candidate", "prove", "cut-over", "rolling_out", "live"]


async def test_without_requests_nothing_is_judged_and_the_gates_are_asked_again(
    target: DockerTarget, web: Image
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    progress = await roll_out(target, 2, web, port, step="200ms")
    assert progress.said == ["candidate", "prove", "canary", *["prove again"] * 2, "cut-over", "rolling_out", "live"]
    assert only(progress).verdict == "not_judged"
    assert "too few requests for a verdict at 20 %, 50 %" in only(progress).detail

    forgetful = Forgetful()
    with pytest.raises(RolloutFailed, match=r"^the golden gate, asked again in the canary, refused it$"):
        await roll_out(target, 3, web, port, forgetful, step="200ms")
    result = only(forgetful)
    assert (result.verdict, result.figures["requests"]) == ("failed", 0)
    assert result.detail == "at 20 %: the golden gate, asked again in the canary, refused it"
    assert await answering(port) == {commit(2)}


async def test_a_newer_push_ends_a_canary_and_what_was_in_progress_is_answered(
    target: DockerTarget, web: Image, leaks: Leaks, instance: str
) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port)
    rollout = asyncio.create_task(roll_out(target, 2, web, port, progress, weights=[99, 100], step="60s"))
    async with Load(port) as load, httpx.AsyncClient(trust_env=False, timeout=60, verify=False) as http:
        await progress.trying.wait()
        slow = [asyncio.create_task(http.get(f"http://127.0.0.1:{port}/?sleep=1")) for _ in range(20)]
        await load.more(100)
        rollout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rollout
        answers = await asyncio.gather(*slow)
        before = len(load.answers)
        await load.more(200)
    assert load.failures == []
    assert Counter(answer.text for answer in answers)[commit(2)] > 10
    assert {answer.body for answer in load.answers[before + 10 :]} == {commit(1)}
    leaks.expect(f"container deployd-{instance}-{NAME}-1", "container deployd-gateway-*", "network deployd-*")


async def test_a_client_stays_with_its_release_where_that_is_wanted(target: DockerTarget, web: Image) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port, sticky=True)
    rollout = asyncio.create_task(roll_out(target, 2, web, port, progress, weights=[50, 100], step="60s", sticky=True))
    await progress.trying.wait()
    clients = [httpx.AsyncClient(trust_env=False, verify=False) for _ in range(30)]
    seen = [{(await client.get(f"http://127.0.0.1:{port}/")).text for _ in range(8)} for client in clients]
    assert {len(releases) for releases in seen} == {1}
    assert 5 < sum(releases == {commit(2)} for releases in seen) < 25
    rollout.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rollout
    afterwards = {(await client.get(f"http://127.0.0.1:{port}/")).text for client in clients}
    assert afterwards == {commit(1)}
    for client in clients:
        await client.aclose()


async def test_a_reload_in_the_middle_of_a_canary_loses_no_request_and_the_canary_goes_on(
    target: DockerTarget, web: Image
) -> None:
    port, progress = free_port(), Watched()
    await roll_out(target, 1, web, port)
    rollout = asyncio.create_task(roll_out(target, 2, web, port, progress, weights=[50, 100], step="5s"))
    await progress.trying.wait()
    async with Load(port) as load:
        await load.more(100)
        await target._gateway.ensure([an_app(1, name=f"{NAME}-b", listen=free_port())])
        reloaded = len(load.answers)
        await rollout
        await load.more(50)
    assert load.failures == []
    assert Counter(answer.body for answer in load.answers[reloaded:])[commit(1)] > 100
    assert only(progress).verdict == "passed"
    assert only(progress).figures["requests"] > 100


@pytest.fixture
async def lent(target: DockerTarget, web: Image) -> int:
    """The port of an app of which release 1 has got half of the requests again, as nobody watches."""
    port = free_port()
    await roll_out(target, 1, web, port)
    former = await target._gateway.serving(NAME)
    assert former is not None
    await roll_out(target, 2, web, port, step="100ms")
    await target._gateway.lend(NAME, former, 500)
    assert await answering(port) == {commit(1), commit(2)}
    return port


async def answering(port: int) -> set[str]:
    """Who answers 50 requests."""
    async with Load(port) as load:
        await load.more(50)
    assert load.failures == []
    return {answer.body for answer in load.answers}


async def test_a_share_that_nobody_extends_ends_by_itself(lent: int) -> None:
    await asyncio.sleep(LOAN_SECONDS + 0.5)
    assert await answering(lent) == {commit(2)}


async def test_a_daemon_that_starts_ends_the_share_that_another_one_left(
    lent: int, engine: str, instance: str, section: GatewaySection, tmp_path: Path
) -> None:
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as started:
        assert await started.serving(an_app(2, listen=lent)) == 2
        assert await answering(lent) == {commit(2)}


async def test_the_requests_to_a_release_are_counted(target: DockerTarget, web: Image) -> None:
    port, app = free_port(), an_app(1, gateway=WEIGHTS)
    await roll_out(target, 1, web, port)
    window = Window(await target.traffic(app, 1))
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        for path in ["/", "/", "/?sleep=0.05"]:
            await http.get(f"http://127.0.0.1:{port}{path}")
    window.add(await target.traffic(app, 1))
    counted = window.whole()
    assert (counted.requests, counted.bad, sum(counted.latencies.values())) == (3, 0, 3)
    assert 50_000 <= max(counted.latencies) < 500_000
    assert await target.traffic(app, 2) == {}
