"""The pipeline over a real store and real git; builder and target are fakes, so that each of them can be told what to do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Image, Status
from deployd.errors import RolloutFailed, Unavailable
from deployd.ports import BuildRequest, Candidate, Context, Log, Progress
from tests.desk import FakeBuilder
from tests.works import Works, works


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path) as made:
        yield made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Works]:
    """Two apps, one build at a time."""
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}) as made:
        yield made


class FakeGate:
    """Says what it is told to say, once it may."""

    def __init__(self, name: str, result: GateResult) -> None:
        self.name = name
        self.asked: list[str] = []
        self._result = result

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        assert context is not None
        assert await context.read("model") is not None
        self.asked.append(candidate.deploy.name)
        return self._result


async def _log(shop: Works, deploy: Deploy) -> str:
    return b"".join([block async for block in shop.logs.read(deploy.app, deploy.number)]).decode()


async def _tidied(shop: Works, name: str) -> Deploy:
    """The live deploy, with all that comes after the cut-over done."""
    app, _, number = name.partition("/")
    async with asyncio.timeout(30):
        watch = shop.events.watch(after=0)
        while True:
            now = await shop.store.deploy(app, int(number))
            if now is not None and now.steps and (now.steps[-1].name, now.steps[-1].status) == ("prune", "done"):
                return now
            await anext(watch)


async def test_a_push_goes_through_every_step_in_order_and_each_is_recorded(shop: Works) -> None:
    commit = shop.commit()
    deploy = await shop.told(commit)
    live = await _tidied(shop, deploy.name)
    assert [(step.name, step.status) for step in live.steps] == [
        (name, "done") for name in ("fetch", "build", "candidate", "cut-over", "drain", "prune")
    ]
    assert all(step.finished_at is not None and step.finished_at >= step.started_at for step in live.steps)
    assert live.image == shop.builder.images[commit]
    said = await _log(shop, deploy)
    assert [line for line in said.splitlines() if line.startswith("==> ")] == [f"==> {one.name}" for one in live.steps]
    assert f"{deploy.name} is live\n" in said
    assert "freed 0.0 MB of images" in said
    statuses = [one.data["status"] for one in shop.events._ring if one.kind == "deploy.status"]
    assert statuses == ["queued", "building", "checking", "rolling_out", "live"]


async def test_the_same_commit_is_not_built_again(shop: Works) -> None:
    commit = shop.commit()
    await shop.becomes(await shop.told(commit), Status.LIVE)
    again = await shop.becomes(await shop.scheduler.deploy("iris", commit, "ada"), Status.LIVE)
    said = await _log(shop, again)
    assert f"unchanged image: deployd/iris:{commit}" in said
    assert said.count("building deployd/iris") == 0


async def test_a_deploy_that_no_push_told_of_gets_its_subject_from_git(shop: Works) -> None:
    shop.commit()
    await shop.polled()
    live = await shop.becomes("iris/1", Status.LIVE)
    assert (live.subject, live.author) == ("Change 1", "Ada")


async def test_a_rollback_takes_the_kept_image_and_fetches_nothing(shop: Works) -> None:
    first, second = shop.commit(), ""
    await shop.becomes(await shop.told(first), Status.LIVE)
    second = shop.commit()
    await shop.becomes(await shop.told(second), Status.LIVE)
    shop.builder.images.clear()
    back = await _tidied(shop, (await shop.scheduler.rollback("iris", None, "ada")).name)
    assert [step.name for step in back.steps] == ["candidate", "cut-over", "drain", "prune"]
    assert back.image == Image("deployd/iris", first, f"sha256:{first}")
    assert shop.builder.images == {}


async def test_a_build_that_fails_says_why_and_serves_nothing_new(shop: Works) -> None:
    first = shop.commit()
    await shop.becomes(await shop.told(first), Status.LIVE)
    bad = shop.commit()
    shop.builder.broken.add(bad)
    failed = await shop.becomes(await shop.told(bad), Status.FAILED)
    assert (failed.reason, failed.hint.splitlines()[-1]) == ("the command returned 1", "no such package: torhc")
    assert [(step.name, step.status) for step in failed.steps] == [("fetch", "done"), ("build", "failed")]
    assert f"{failed.name} failed: the command returned 1" in await _log(shop, failed)
    assert shop.target.live == {"iris": 1}


async def test_what_is_away_puts_the_deploy_back_with_the_reason_and_is_tried_again(
    shop: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (0.01,))
    shop.builder.away = [Unavailable("it is still away"), Unavailable("the engine is away")]
    deploy = await shop.told(shop.commit())
    live = await _tidied(shop, deploy.name)
    builds = [step.status for step in live.steps if step.name == "build"]
    assert builds == ["failed", "failed", "done"]
    reasons = [one.data["reason"] for one in shop.events._ring if one.data.get("status") == "queued"]
    assert [reason.partition(";")[0] for reason in reasons] == ["", "the engine is away", "it is still away"]


async def test_a_secret_that_a_failure_quotes_is_in_no_reason_hint_or_log(
    shop: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crashing(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        progress.log.hide("hunter2-hunter2")
        raise RolloutFailed("cannot connect to hunter2-hunter2", hint="last words: hunter2-hunter2")

    monkeypatch.setattr(shop.target, "roll_out", crashing)
    failed = await shop.becomes(await shop.told(shop.commit()), Status.FAILED)
    log = b"".join([block async for block in shop.logs.read("iris", 1)]).decode()
    assert (failed.reason, failed.hint) == ("cannot connect to ***", "last words: ***")
    assert "hunter2" not in log


async def test_a_cancelled_deploy_says_in_its_log_that_it_was_stopped(shop: Works) -> None:
    commit = shop.commit()
    shop.builder.held[commit] = asyncio.Event()
    deploy = await shop.told(commit)
    await _building(shop, deploy)
    await shop.scheduler.cancel("iris", deploy.number)
    stopped = await shop.becomes(deploy, Status.CANCELLED)
    assert [(step.name, step.status) for step in stopped.steps] == [("fetch", "done"), ("build", "cancelled")]
    assert (await _log(shop, deploy)).endswith(f"{deploy.name} was stopped\n")


async def test_a_commit_that_the_remote_does_not_show_makes_way_for_the_head(shop: Works) -> None:
    shop.commit()
    deploy = await shop.told("e" * 40)
    assert (await shop.becomes(deploy, Status.SUPERSEDED)).superseded_by == 2
    await shop.becomes("iris/2", Status.LIVE)


async def _building(shop: Works, deploy: Deploy) -> None:
    async with asyncio.timeout(30):
        watch = shop.events.watch(after=0)
        while True:
            now = await shop.store.deploy(deploy.app, deploy.number)
            if now is not None and any((step.name, step.status) == ("build", "running") for step in now.steps):
                return
            await anext(watch)


async def test_one_app_after_another_is_built_where_one_build_is_allowed(two: Works) -> None:
    commit = two.commit()
    gate = two.builder.held[commit] = asyncio.Event()
    await _building(two, await two.told(commit, "iris"))
    waiting = await two.told(commit, "rose")
    async with asyncio.timeout(30):
        async for _ in two.events.watch(after=0):
            if "waiting for another build to end" in await _log(two, waiting):
                break
    gate.set()
    await two.serves(commit, "iris")
    await two.serves(commit, "rose")


async def test_an_app_with_many_pushes_does_not_starve_another(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose", "branch": "next"}) as shop:
        first, other = shop.commit(), shop.commit("next")
        endless = shop.builder.held[first] = asyncio.Event()
        await _building(shop, await shop.told(first, "iris"))
        patient = await shop.told(other, "rose", ref="refs/heads/next")
        commits = [shop.commit() for _ in range(10)]
        for commit in commits:
            shop.builder.held[commit] = endless
            await shop.told(commit, "iris")
        # None of the busy app's builds ever ends by itself: the slot is free only for as long as one makes way for the next.
        await shop.becomes(patient, Status.LIVE)
        endless.set()
        await shop.serves(commits[-1], "iris")


async def test_a_remote_that_hangs_takes_no_build_slot_from_others(two: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = two.commit()
    hanging, fetch = asyncio.Event(), two.source.fetch

    async def hang_for_iris(app: object, *more: object) -> Context:
        if getattr(app, "name", "") == "iris":
            hanging.set()
            await asyncio.Event().wait()
        return await fetch(app, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(two.source, "fetch", hang_for_iris)
    await two.told(commit, "iris", "rose")
    await hanging.wait()
    await two.serves(commit, "rose")


async def test_gates_are_asked_in_turn_and_the_first_that_refuses_ends_it(shop: Works) -> None:
    passes = FakeGate("ready", GateResult("ready", "passed", "after 0.1 s"))
    refuses = FakeGate("golden", GateResult("golden", "failed", "3 of 10 answers differ"))
    never = FakeGate("later", GateResult("later", "passed"))
    shop.gates = [passes, refuses, never]
    failed = await shop.becomes(await shop.told(shop.commit()), Status.FAILED)
    assert failed.reason == "the golden gate refused it: 3 of 10 answers differ"
    assert [(gate.name, gate.verdict) for gate in failed.gates] == [("ready", "passed"), ("golden", "failed")]
    assert (passes.asked, refuses.asked, never.asked) == ([failed.name], [failed.name], [])
    assert shop.target.live == {}


async def test_an_image_is_named_after_its_app_and_carries_its_commit(tmp_path: Path) -> None:
    seen: list[BuildRequest] = []

    class Recording(FakeBuilder):
        async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
            seen.append(request)
            return await super().build(request, context, log)

    async with works(tmp_path, {"build": {"args": {"PIP_INDEX": "internal"}}}, builder=Recording()) as shop:
        commit = shop.commit()
        await shop.becomes(await shop.told(commit), Status.LIVE)
    (request,) = seen
    assert request.name == "deployd/iris"
    assert request.args == {"COMMIT": commit, "PIP_INDEX": "internal"}
    assert request.labels == {
        "io.deployd.instance": "test",
        "io.deployd.app": "iris",
        "io.deployd.commit": commit,
    }
