"""The pipeline over a real store and real git; builder and target are fakes, so that each of them can be told what to do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from deployd.backoff import Backoff
from deployd.domain import Base, Deploy, Image
from deployd.errors import Unavailable
from deployd.goal import Trigger, Wanted
from deployd.ports.builder import BuildRequest
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.status import Status
from tests.adapters import FakeBuilder
from tests.desk import MAIN
from tests.works import Works, works


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path) as made:
        yield made


@pytest.fixture
async def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Works]:
    """Tries again at once."""
    monkeypatch.setattr("deployd.lane.Backoff", partial(Backoff, (0.01,)))
    async with works(tmp_path) as made:
        yield made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Works]:
    """Two apps, one build at a time."""
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}) as made:
        yield made


async def _log(daemon: Works, deploy: Deploy) -> str:
    return b"".join([block async for block in daemon.logs.read(deploy.app, deploy.number)]).decode()


async def _cleaned_up(daemon: Works, name: str) -> Deploy:
    """The live deploy, once all that comes after its switch is done."""
    app, _, number = name.partition("/")
    async with asyncio.timeout(30):
        watch = daemon.events.watch(after=0)
        while True:
            now = await daemon.store.deploy(app, int(number))
            if now is not None and now.steps and (now.steps[-1].name, now.steps[-1].status) == ("prune", "done"):
                return now
            await anext(watch)


async def test_a_push_goes_through_every_step_in_order_and_each_is_recorded(daemon: Works) -> None:
    commit = daemon.commit()
    deploy = await daemon.deployed(commit)
    live = await _cleaned_up(daemon, deploy.name)
    assert (live.commit, live.target) == (commit, "docker")
    assert [(step.name, step.status) for step in live.steps] == [
        (name, "done") for name in ("fetch", "build", "candidate", "cut-over", "drain", "prune")
    ]
    assert all(step.finished_at is not None and step.finished_at >= step.started_at for step in live.steps)
    assert live.image is not None
    assert live.image.tag.startswith(f"{commit}-")
    assert list(daemon.builder.images.values()) == [live.image]
    said = await _log(daemon, deploy)
    assert [line for line in said.splitlines() if line.startswith("==> ")] == [f"==> {one.name}" for one in live.steps]
    assert f"{deploy.name} is live\n" in said
    statuses = [one.data["status"] for one in daemon.events._ring if one.kind == "deploy.status"]
    assert statuses == ["queued", "building", "checking", "rolling_out", "live"]


async def test_an_app_that_its_target_cannot_run_fails_before_anything_is_fetched(daemon: Works) -> None:
    daemon.target.unfit.add("iris")
    failed = await daemon.becomes(await daemon.deployed(daemon.commit()), Status.FAILED)
    assert failed.reason == "app.iris.docker.network: this engine has no network back"
    assert failed.steps == ()


@pytest.mark.slow
async def test_the_same_commit_is_not_built_again(daemon: Works) -> None:
    commit = daemon.commit()
    await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    again = await daemon.becomes(await daemon.scheduler.deploy("iris", commit, "ada"), Status.LIVE)
    said = await _log(daemon, again)
    assert again.image is not None
    assert f"unchanged image: {again.image.full_name} was built before\n" in said
    assert len(daemon.builder.requests) == 1


async def test_a_deploy_by_hand_gets_its_subject_from_git(daemon: Works) -> None:
    daemon.commit()
    deploy = await daemon.scheduler.deploy("iris", "main", "ada")
    assert deploy.subject == ""
    live = await daemon.becomes(deploy, Status.LIVE)
    assert (live.subject, live.author) == ("Change 1", "Ada")


async def test_a_deploy_runs_on_the_target_that_the_app_has_when_it_begins(daemon: Works) -> None:
    await daemon.scheduler.pause("iris", paused=True)
    wanted = Wanted("iris", daemon.commit(), MAIN, Trigger("manual"), target="kubernetes")
    deploy = await daemon.store.queue(wanted)
    await daemon.scheduler.pause("iris", paused=False)
    assert (await daemon.becomes(deploy, Status.LIVE)).target == "docker"


@pytest.mark.slow
async def test_a_rollback_takes_the_kept_image_and_fetches_nothing(daemon: Works) -> None:
    first = daemon.commit()
    before = await daemon.becomes(await daemon.deployed(first), Status.LIVE)
    await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    daemon.builder.requests.clear()
    back = await _cleaned_up(daemon, (await daemon.scheduler.rollback("iris", None, "ada")).name)
    assert [step.name for step in back.steps] == ["candidate", "cut-over", "drain", "prune"]
    assert back.image == before.image
    assert daemon.builder.requests == []


async def test_a_rollback_whose_image_is_not_known_any_more_fails_with_a_hint(daemon: Works) -> None:
    await daemon.scheduler.pause("iris", paused=True)
    deploy = await daemon.store.queue(Wanted("iris", "a" * 40, MAIN, Trigger("rollback"), rollback_to=7))
    await daemon.scheduler.pause("iris", paused=False)
    failed = await daemon.becomes(deploy, Status.FAILED)
    assert (failed.reason, failed.hint) == ("iris/7 has no image to go back to", "deploy its commit again")


@pytest.mark.slow
async def test_a_build_that_fails_says_why_and_serves_nothing_new(daemon: Works) -> None:
    first = daemon.commit()
    await daemon.becomes(await daemon.deployed(first), Status.LIVE)
    bad = daemon.commit()
    daemon.builder.broken.add(bad)
    failed = await daemon.becomes(await daemon.deployed(bad), Status.FAILED)
    assert (failed.reason, failed.hint.splitlines()[-1]) == ("the command returned 1", "no such package: torhc")
    assert [(step.name, step.status) for step in failed.steps] == [("fetch", "done"), ("build", "failed")]
    assert f"{failed.name} failed: the command returned 1" in await _log(daemon, failed)
    assert daemon.target.live == {"iris": 1}


@pytest.mark.slow
async def test_a_deploy_waits_with_the_reason_for_what_is_away_and_is_tried_again(hasty: Works) -> None:
    hasty.builder.away = [Unavailable("it is still away"), Unavailable("the engine is away")]
    deploy = await hasty.deployed(hasty.commit())
    live = await _cleaned_up(hasty, deploy.name)
    builds = [step.status for step in live.steps if step.name == "build"]
    assert builds == ["failed", "failed", "done"]
    reasons = [one.data["reason"] for one in hasty.events._ring if one.data.get("status") == "queued"]
    assert [reason.partition(";")[0] for reason in reasons] == ["", "the engine is away", "it is still away"]


async def test_a_cancelled_deploy_says_in_its_log_that_it_was_stopped(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.held[commit] = asyncio.Event()
    deploy = await daemon.deployed(commit)
    await _building(daemon, deploy)
    await daemon.scheduler.cancel("iris", deploy.number)
    stopped = await daemon.becomes(deploy, Status.CANCELLED)
    assert [(step.name, step.status) for step in stopped.steps] == [("fetch", "done"), ("build", "cancelled")]
    assert (await _log(daemon, deploy)).endswith(f"{deploy.name} was stopped\n")


async def _building(daemon: Works, deploy: Deploy) -> None:
    async with asyncio.timeout(30):
        watch = daemon.events.watch(after=0)
        while True:
            now = await daemon.store.deploy(deploy.app, deploy.number)
            if now is not None and any((step.name, step.status) == ("build", "running") for step in now.steps):
                return
            await anext(watch)


@pytest.mark.slow
async def test_one_app_after_another_is_built_where_one_build_is_allowed(two: Works) -> None:
    commit = two.commit()
    gate = two.builder.held[commit] = asyncio.Event()
    await _building(two, await two.deployed(commit, "iris"))
    waiting = await two.deployed(commit, "rose")
    async with asyncio.timeout(30):
        while "waiting for another build to end" not in await _log(two, waiting):  # noqa: ASYNC110 - no event tells of a line
            await asyncio.sleep(0.01)
    gate.set()
    await two.serves(commit, "iris")
    await two.serves(commit, "rose")


@pytest.mark.slow
async def test_an_app_with_many_pushes_does_not_starve_another(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose", "branch": "next"}) as daemon:
        first, other = daemon.commit(), daemon.commit("next")
        endless = daemon.builder.held[first] = asyncio.Event()
        await _building(daemon, await daemon.deployed(first, "iris"))
        patient = await daemon.deployed(other, "rose", ref="refs/heads/next")
        commits = [daemon.commit() for _ in range(10)]
        for commit in commits:
            daemon.builder.held[commit] = endless
            await daemon.deployed(commit, "iris")
        # None of the busy app's builds ever ends by itself: the slot is free only for as long as one makes way for the next.
        await daemon.becomes(patient, Status.LIVE)
        endless.set()
        await daemon.serves(commits[-1], "iris")


async def test_a_remote_that_hangs_takes_no_build_slot_from_others(two: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = two.commit()
    hanging, fetch = asyncio.Event(), two.source.fetch

    async def hang_for_iris(app: object, *more: object) -> Context:
        if getattr(app, "name", "") == "iris":
            hanging.set()
            await asyncio.Event().wait()
        return await fetch(app, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(two.source, "fetch", hang_for_iris)
    await two.deployed(commit, "iris", "rose")
    await hanging.wait()
    await two.serves(commit, "rose")


async def test_an_image_is_named_after_its_app_and_carries_its_commit(tmp_path: Path) -> None:
    seen: list[BuildRequest] = []

    class Recording(FakeBuilder):
        async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
            seen.append(request)
            return await super().build(request, context, log)

    async with works(tmp_path, {"build": {"args": {"PIP_INDEX": "internal"}}}, builder=Recording()) as daemon:
        commit = daemon.commit()
        await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    (request,) = seen
    assert request.name == "deployd/test/iris"
    assert request.args == {"COMMIT": commit, "PIP_INDEX": "internal"}
    assert request.labels == {
        "io.deployd.instance": "test",
        "io.deployd.app": "iris",
        "io.deployd.commit": commit,
    }


async def test_a_rebuild_takes_neither_the_former_image_nor_the_cache_and_pulls_the_bases(daemon: Works) -> None:
    commit = daemon.commit()
    await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    deploy = await daemon.scheduler.deploy("iris", commit, "ada", rebuild=True)
    again = await daemon.becomes(deploy, Status.LIVE)
    assert again.rebuild
    assert [(one.fresh, one.pull) for one in daemon.builder.requests] == [(False, False), (True, True)]
    assert again.image is not None
    assert again.image.bases == (Base("python:3.12", "sha256:2"),)
    assert len(daemon.builder.images) == 2


async def test_a_rebuild_that_was_interrupted_after_its_build_is_not_built_twice(hasty: Works) -> None:
    hasty.target.refusals = [Unavailable("the engine is away")]
    deploy = await hasty.scheduler.deploy("iris", hasty.commit(), "ada", rebuild=True)
    await hasty.becomes(deploy, Status.LIVE)
    assert len(hasty.builder.requests) == 1


async def test_an_image_that_is_gone_is_built_again_under_another_name(daemon: Works) -> None:
    commit = daemon.commit()
    first = await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    daemon.builder.images.clear()
    again = await daemon.becomes(await daemon.scheduler.deploy("iris", commit, "ada"), Status.LIVE)
    assert first.image is not None
    assert again.image is not None
    assert again.image.full_name != first.image.full_name


@pytest.mark.slow
async def test_base_images_that_are_too_old_are_pulled_before_the_next_build(tmp_path: Path) -> None:
    async with works(tmp_path, {"build": {"pull": "1h"}}) as daemon:
        for _ in range(2):
            await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
        assert [one.pull for one in daemon.builder.requests] == [True, False]
        head = daemon.head()
        await daemon.becomes(await daemon.scheduler.deploy("iris", head, "ada"), Status.LIVE)
        assert len(daemon.builder.requests) == 2
        long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
        await daemon.store._database.write(
            lambda db: db.execute("UPDATE builds SET pulled_at = ?", (long_ago,)).rowcount
        )
        again = await daemon.becomes(await daemon.scheduler.deploy("iris", head, "ada"), Status.LIVE)
        assert [(one.fresh, one.pull) for one in daemon.builder.requests][2:] == [(False, True)]
        assert again.image is not None
        assert again.image.bases == (Base("python:3.12", "sha256:3"),)


@pytest.mark.slow
async def test_without_build_pull_base_images_stay_as_they_are(daemon: Works) -> None:
    for _ in range(2):
        await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    assert [one.pull for one in daemon.builder.requests] == [False, False]
