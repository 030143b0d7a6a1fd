"""Commits that are only proven: built, asked all gates, never switched to, and never in the way of what is to serve."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.delivery import Delivery, Proposal
from deployd.domain import Deploy, GateResult
from deployd.errors import RequestRefused, Unavailable
from deployd.goal import Trigger, Wanted
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.status import Status
from tests.desk import MAIN
from tests.works import Works, works


class Verdicts:
    """A gate that refuses the commits that it is told to."""

    name = "golden"

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        self.asked.append(candidate.deploy.name)
        return GateResult(self.name, "failed" if candidate.deploy.commit in self.refused else "passed", "3 answers")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path) as made:
        yield made


async def _prove(daemon: Works, commit: str) -> Deploy:
    return await daemon.scheduler.deploy("iris", commit, "ada", prove=True)


async def _live(daemon: Works) -> Deploy:
    return await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)


async def _under_way(daemon: Works, deploy: Deploy) -> None:
    async with asyncio.timeout(20):
        watch = daemon.events.watch(after=0)
        while deploy.number not in daemon.target.proving:
            await anext(watch)


@pytest.mark.slow
async def test_a_commit_is_built_and_asked_all_gates_and_what_serves_stays(daemon: Works) -> None:
    gate = Verdicts()
    live = await _live(daemon)
    daemon.gates = [gate]
    commit = daemon.commit("next")
    proven = await daemon.becomes(await _prove(daemon, commit), Status.PROVEN)
    assert (proven.prove, proven.commit, proven.live_at) == (True, commit, None)
    assert [(step.name, step.status) for step in proven.steps] == [
        (name, "done") for name in ("fetch", "build", "candidate", "golden")
    ]
    assert [(one.name, one.verdict) for one in proven.gates] == [("golden", "passed")]
    assert proven.image is not None
    assert proven.image_size == 10
    assert gate.asked == [proven.name]
    assert daemon.target.live == {"iris": live.number}


@pytest.mark.slow
async def test_a_commit_that_a_gate_refuses_fails_with_the_reason_and_the_app_does_not_count_as_failed(
    daemon: Works,
) -> None:
    gate = Verdicts()
    live = await _live(daemon)
    daemon.gates = [gate]
    commit = daemon.commit("next")
    gate.refused.add(commit)
    failed = await daemon.becomes(await _prove(daemon, commit), Status.FAILED)
    assert failed.reason == "the golden gate refused it: 3 answers"
    state = await daemon.store.state("iris")
    assert (state.failed, state.live and state.live.number, state.held_reason) == (None, live.number, "")
    newest = await daemon.store.newest_to_serve("iris")
    assert newest is not None
    assert newest.number == live.number


@pytest.mark.slow
async def test_a_proof_does_not_change_the_decided_wanted_and_held_heads(daemon: Works) -> None:
    live = await _live(daemon)
    await daemon.becomes(await daemon.scheduler.deploy("iris", live.commit, "ada"), Status.LIVE)
    other = daemon.commit("next")
    await daemon.becomes(await daemon.scheduler.deploy("iris", other, "ada"), Status.LIVE)
    before, known = await daemon.store.state("iris"), await daemon.store.known(["iris"])
    assert before.held_reason == "deployed by hand by ada"
    daemon.target.halfway = asyncio.Event()
    proof = await _prove(daemon, daemon.commit("another"))
    await _under_way(daemon, proof)
    during = await daemon.store.state("iris")
    assert (during.held_reason, during.at_rest, during.in_flight and during.in_flight.number) == (
        before.held_reason,
        True,
        proof.number,
    )
    daemon.target.halfway.set()
    await daemon.becomes(proof, Status.PROVEN)
    after = await daemon.store.state("iris")
    assert (after.held_reason, after.wanted, after.live) == (before.held_reason, before.wanted, before.live)
    assert await daemon.store.known(["iris"]) == known


@pytest.mark.slow
async def test_a_push_goes_before_a_proof_in_flight_which_is_taken_up_again_afterwards(daemon: Works) -> None:
    await _live(daemon)
    daemon.target.halfway = asyncio.Event()
    proof = await _prove(daemon, daemon.commit("next"))
    await _under_way(daemon, proof)
    daemon.target.halfway = None
    pushed = await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    assert pushed.number > proof.number
    await daemon.becomes(proof, Status.PROVEN)
    reasons = [one.data["reason"] for one in daemon.events._ring if one.data.get("status") == "queued"]
    assert reasons[-1] == f"{pushed.name} goes first"
    assert daemon.target.live == {"iris": pushed.number}


@pytest.mark.slow
async def test_the_commit_that_is_being_proven_is_deployed_when_it_is_pushed(daemon: Works) -> None:
    await _live(daemon)
    commit = daemon.commit()
    daemon.target.halfway = asyncio.Event()
    proof = await _prove(daemon, commit)
    await _under_way(daemon, proof)
    daemon.target.halfway = None
    live = await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    assert (live.commit, live.prove) == (commit, False)
    assert len([one for one in daemon.builder.requests if one.commit == commit]) == 1  # the build is used again


async def test_proofs_wait_for_each_other_and_none_supersedes_another(daemon: Works) -> None:
    daemon.target.halfway = asyncio.Event()
    proofs = [await _prove(daemon, daemon.commit(f"branch-{number}")) for number in range(3)]
    await _under_way(daemon, proofs[0])
    assert daemon.target.proving == [proofs[0].number]
    daemon.target.halfway.set()
    for proof in proofs:
        await daemon.becomes(proof, Status.PROVEN)
    assert daemon.target.proving == [proof.number for proof in proofs]


@pytest.mark.slow
async def test_a_restart_is_not_refused_for_a_proof_that_is_under_way(daemon: Works) -> None:
    live = await _live(daemon)
    daemon.target.halfway = asyncio.Event()
    await _under_way(daemon, await _prove(daemon, daemon.commit("next")))
    daemon.target.halfway = None
    again = await daemon.becomes(await daemon.scheduler.restart("iris", "ada"), Status.LIVE)
    assert again.image == live.image


async def test_a_proof_is_cancelled_by_hand_and_tried_again_when_something_is_away(daemon: Works) -> None:
    daemon.target.trouble = Unavailable("the engine is away")
    proof = await _prove(daemon, daemon.commit("next"))
    async with asyncio.timeout(20):
        watch = daemon.events.watch(after=0)
        while True:
            now = await daemon.store.deploy("iris", proof.number)
            if now is not None and now.reason.startswith("the engine is away"):
                break
            await anext(watch)
    await daemon.scheduler.cancel("iris", proof.number)
    assert (await daemon.becomes(proof, Status.CANCELLED)).reason == "cancelled by hand"


async def test_an_app_that_cannot_run_twice_cannot_be_proven(tmp_path: Path) -> None:
    async with works(tmp_path, {"docker": {"start": "stop-first"}}) as daemon:
        commit = daemon.commit()
        with pytest.raises(RequestRefused, match="it cannot run twice") as refused:
            await _prove(daemon, commit)
        assert refused.value.status == 409
        wanted = Wanted("iris", commit, MAIN, Trigger("manual"), prove=True)  # it was queued before the config changed
        queued = await daemon.store.queue(wanted)
        daemon.scheduler.lanes.submit(queued)
        failed = await daemon.becomes(queued, Status.FAILED)
        assert "it cannot run twice" in failed.reason
        assert failed.steps == ()


@pytest.mark.slow
async def test_the_images_of_proofs_go_when_they_are_too_many_and_that_of_what_serves_stays(daemon: Works) -> None:
    live = await _live(daemon)
    assert live.image is not None
    commits = [daemon.commit(f"branch-{number}") for number in range(7)]
    for commit in commits:
        await daemon.becomes(await _prove(daemon, commit), Status.PROVEN)
    async with asyncio.timeout(20):
        while len(daemon.builder.images) > daemon.config.retention.images:  # noqa: ASYNC110 - no event tells of a removal
            await asyncio.sleep(0.01)
    assert live.image.full_name in daemon.builder.images
    assert commits[-1] in {image.tag.partition("-")[0] for image in daemon.builder.images.values()}


@pytest.mark.slow
async def test_a_commit_of_a_pull_request_is_proven_like_any_other_and_only_once(daemon: Works) -> None:
    live = await _live(daemon)
    commit = daemon.commit("next")
    shown = Proposal("github.com/acme/iris", 7, MAIN, commit, "A deeper \x1b[31mtree", "ada")
    for guid in ("g", "again"):
        assert await daemon.scheduler.propose(Delivery("github", guid, "pull_request"), shown, ["iris"]) == ["iris"]
    (deploy, before) = await daemon.store.deploys("iris")
    proven = await daemon.becomes(deploy, Status.PROVEN)
    assert (proven.prove, proven.ref, proven.commit) == (True, "refs/pull/7/head", commit)
    assert (proven.subject, proven.author, proven.trigger.delivery) == ("A deeper \\u001b[31mtree", "ada", "g")
    assert before.number == live.number
    assert daemon.target.live == {"iris": live.number}
