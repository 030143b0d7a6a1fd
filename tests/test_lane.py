"""A lane over a real store; the pipeline is scripted: each deploy goes as far as the test lets it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from deployd.wanted import Outdated

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.domain import Deploy, Status, Trigger, Wanted
from deployd.errors import BuildFailed, ConfigError, DeploydError, RolloutFailed, Unavailable
from deployd.events import Events
from deployd.lane import Lane
from deployd.metrics import DEPLOYS
from deployd.pipeline import Pipeline
from deployd.ports import InFlight, Log, Target, none_in_flight
from deployd.store.database import Database, Work
from deployd.store.store import Store

A, B, C = "a" * 40, "b" * 40, "c" * 40
Script = Callable[[Deploy], Awaitable[None]]


class ScriptedPipeline(Pipeline):
    """Does for each deploy what `scripts` says of its commit; without one, it goes live at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.scripts: dict[str, Script] = {}
        self.began: asyncio.Queue[Deploy] = asyncio.Queue()
        self.running: set[str] = set()
        self.outrun: Callable[[], Awaitable[bool]] | None = None
        self.tidied: asyncio.Queue[int] = asyncio.Queue()
        self.pruned: asyncio.Queue[str] = asyncio.Queue()
        self.in_flight: InFlight = none_in_flight

    async def run(self, app: App, deploy: Deploy, outrun: Callable[[], Awaitable[bool]]) -> None:
        assert app.name not in self.running, "two deploys of one app at once"
        self.running.add(app.name)
        self.outrun = outrun
        try:
            await self.store.advance(deploy, Status.BUILDING)
            self.began.put_nowait(deploy)
            if (script := self.scripts.get(deploy.commit)) is not None:
                await script(deploy)
            if await outrun():
                raise asyncio.CancelledError
            await self.go_live(deploy)
        finally:
            self.running.remove(app.name)

    async def go_live(self, deploy: Deploy) -> None:
        for status in (Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
            await self.store.advance(deploy, status)

    async def tidy(self, app: App, deploy: Deploy, retention: object, in_flight: InFlight) -> None:
        self.in_flight = in_flight
        self.tidied.put_nowait(deploy.number)

    async def prune(self, app: App, retention: object, log: object = None) -> None:
        self.pruned.put_nowait(app.name)


class Cleaning:
    """A deploy's script that goes on until it is stopped, and cleans up until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.let_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, deploy: Deploy) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.begun.set()
            await self.let_end.wait()


class World:
    """What serves, as a target would say."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.restored: list[int] = []
        self.away = 0
        self.trouble: list[DeploydError] = []  # what the next questions are answered with
        self.refused: list[DeploydError] = []  # what the next restores end with
        self.swept = asyncio.Event()

    async def serving(self, app: App) -> int | None:
        if self.away:
            self.away -= 1
            raise Unavailable("the engine is away")
        if self.trouble:
            raise self.trouble.pop(0)
        return self.number

    async def restore(self, app: App, deploy: Deploy) -> None:
        if self.refused:
            raise self.refused.pop(0)
        self.restored.append(deploy.number)
        self.number = deploy.number

    async def sweep(self, app: App, keep: int | None, log: Log) -> None:
        assert keep is None
        if self.trouble:
            raise self.trouble.pop(0)
        self.swept.set()


class Bench:
    """A store, a lane that serves, and what is around it."""

    def __init__(self, store: Store, events: Events, config: Config) -> None:
        self.store = store
        self.events = events
        self.pipeline = ScriptedPipeline(store)
        self.world = World()
        self.lane = Lane(config.app[0], config, store, self.pipeline)
        self.lane.target = cast("Target", self.world)

    async def push(self, commit: str) -> Deploy:
        deploy = await self.store.queue(Wanted("iris", commit, "refs/heads/main", Trigger("push", "guid")))
        self.lane.submit(deploy)
        return deploy

    async def ends(self, deploy: Deploy, *statuses: Status) -> Deploy:
        """Wait until the deploy has one of the statuses."""
        async with asyncio.timeout(20):
            watch = self.events.watch(after=0)
            while True:
                now = await self.store.deploy(deploy.app, deploy.number)
                assert now is not None
                if now.status in statuses:
                    return now
                await anext(watch)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lane.serve())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert task.cancelled(), task.exception()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (0.01,))
    app = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    events = Events()
    async with Database(tmp_path / "db") as database:
        yield Bench(Store(database, events), events, parse({"app": [app]}))


async def _for_ever(deploy: Deploy) -> None:
    await asyncio.Event().wait()


async def test_a_push_goes_live_and_the_lane_tidies_up(bench: Bench) -> None:
    async with bench.serving():
        deploy = await bench.push(A)
        await bench.ends(deploy, Status.LIVE)
        assert await bench.pipeline.tidied.get() == deploy.number


async def test_who_tidies_up_is_told_what_is_in_flight_meanwhile(bench: Bench) -> None:
    bench.pipeline.scripts[B] = _for_ever
    async with bench.serving():
        first = await bench.push(A)
        await bench.ends(first, Status.LIVE)
        await bench.pipeline.tidied.get()
        assert bench.pipeline.in_flight() is None
        second = await bench.push(B)
        while await bench.pipeline.began.get() != second:
            pass
        assert bench.pipeline.in_flight() == second.number


async def test_a_newer_push_cancels_the_deploy_in_flight_and_wins(bench: Bench) -> None:
    bench.pipeline.scripts[A] = _for_ever
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        second = await bench.push(B)
        old = await bench.ends(first, Status.SUPERSEDED)
        await bench.ends(second, Status.LIVE)
        assert old.superseded_by == second.number
        assert old.reason == "a newer push came: iris/2"


async def test_the_next_deploy_begins_only_after_the_clean_up_of_the_cancelled_one(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        last = first
        for commit in (B, C, B):  # three pushes close together must not cancel the clean-up of the first
            last = await bench.push(commit)
            await cleaning.begun.wait()
        assert bench.pipeline.began.empty()
        cleaning.let_end.set()
        await bench.ends(last, Status.LIVE)
        assert (await bench.ends(first, Status.SUPERSEDED)).superseded_by == last.number
        assert [(await bench.store.deploy("iris", number)).status for number in (2, 3)] == [Status.SUPERSEDED] * 2  # type: ignore[union-attr]


async def test_a_cancellation_that_comes_after_the_cut_over_comes_too_late(bench: Bench) -> None:
    switched, go_on = asyncio.Event(), asyncio.Event()

    async def live_but_not_back(deploy: Deploy) -> None:
        await bench.pipeline.go_live(deploy)
        switched.set()
        await go_on.wait()

    bench.pipeline.scripts[A] = live_but_not_back
    async with bench.serving():
        first = await bench.push(A)
        await switched.wait()
        second = await bench.push(B)
        await bench.ends(second, Status.LIVE)
        assert (await bench.ends(first, Status.RETIRED)).superseded_by is None


async def test_what_waits_in_the_store_at_the_cut_over_outruns_the_deploy_in_flight(bench: Bench) -> None:
    async def meanwhile(deploy: Deploy) -> None:
        # Durable, but not yet handed to the lane: the cut-over itself has to look.
        await bench.store.queue(Wanted("iris", B, "refs/heads/main", Trigger("push", "other")))

    bench.pipeline.scripts[A] = meanwhile
    async with bench.serving():
        first = await bench.push(A)
        assert (await bench.ends(first, Status.SUPERSEDED)).superseded_by == 2
        await bench.ends(Deploy("iris", 2, B, "", Trigger("push"), Status.QUEUED, first.created_at), Status.LIVE)


@pytest.mark.parametrize("failure", [BuildFailed("no such base", hint="last lines"), RolloutFailed("never ready")])
async def test_a_failure_ends_the_deploy_with_its_reason_and_the_lane_goes_on(
    bench: Bench, failure: BuildFailed | RolloutFailed
) -> None:
    async def fail(deploy: Deploy) -> None:
        raise failure

    bench.pipeline.scripts[A] = fail
    async with bench.serving():
        failed = await bench.ends(await bench.push(A), Status.FAILED)
        assert (failed.reason, failed.hint) == (failure.message, failure.hint)
        assert await bench.pipeline.pruned.get() == "iris"
        await bench.ends(await bench.push(B), Status.LIVE)


async def test_what_is_away_is_waited_for(bench: Bench) -> None:
    tries = 0

    async def away_at_first(deploy: Deploy) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Unavailable("the remote is away", hint="look at the network")

    bench.pipeline.scripts[A] = away_at_first
    async with bench.serving():
        deploy = await bench.push(A)
        await bench.ends(deploy, Status.LIVE)
        assert tries == 4


async def test_what_is_away_is_not_asked_again_at_once_but_a_new_push_does_not_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (1000.0,))

    async def away(deploy: Deploy) -> None:
        raise Unavailable("the remote is away")

    bench.pipeline.scripts[A] = away
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        assert (await bench.ends(first, Status.QUEUED)).reason == "the remote is away; trying again in 1000 s"
        second = await bench.push(B)
        await bench.ends(second, Status.LIVE)
        assert bench.pipeline.began.get_nowait().number == second.number


async def test_a_bug_fails_the_deploy_and_ends_the_lane_loudly(bench: Bench) -> None:
    async def bug(deploy: Deploy) -> None:
        raise ZeroDivisionError

    bench.pipeline.scripts[A] = bug
    task = asyncio.create_task(bench.lane.serve())
    deploy = await bench.push(A)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20):
            await task
    assert caught.group_contains(ZeroDivisionError)
    assert "a bug in deployd" in (await bench.ends(deploy, Status.FAILED)).reason


async def test_cancelling_by_hand_ends_the_deploy_as_cancelled(bench: Bench) -> None:
    bench.pipeline.scripts[A] = _for_ever
    async with bench.serving():
        deploy = await bench.push(A)
        await bench.pipeline.began.get()
        assert not bench.lane.cancel(17)
        assert bench.lane.cancel(deploy.number)
        assert (await bench.ends(deploy, Status.CANCELLED)).reason == "cancelled by hand"


async def test_a_cancellation_by_hand_counts_though_the_deploy_makes_way_already(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        second = await bench.push(B)
        await cleaning.begun.wait()
        await bench.store.advance(second, Status.CANCELLED, reason="cancelled by hand")
        assert bench.lane.cancel(first.number)
        cleaning.let_end.set()
        assert (await bench.ends(first, Status.CANCELLED)).reason == "cancelled by hand"


async def test_a_deploy_cancelled_in_the_moment_in_which_it_is_taken_up_stays_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.pipeline.run

    async def too_late(app: App, deploy: Deploy, outrun: Callable[[], Awaitable[bool]]) -> None:
        monkeypatch.setattr(bench.pipeline, "run", run)
        await bench.store.advance(deploy, Status.CANCELLED, reason="cancelled by hand")
        await run(app, deploy, outrun)

    monkeypatch.setattr(bench.pipeline, "run", too_late)
    async with bench.serving():
        assert (await bench.ends(await bench.push(A), Status.CANCELLED)).reason == "cancelled by hand"
        await bench.ends(await bench.push(B), Status.LIVE)


async def test_a_deploy_whose_newer_push_is_cancelled_while_it_makes_way_goes_on(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        second = await bench.push(B)
        await cleaning.begun.wait()
        await bench.store.advance(second, Status.CANCELLED, reason="cancelled by hand")
        del bench.pipeline.scripts[A]
        cleaning.let_end.set()
        await bench.ends(first, Status.LIVE)


async def test_stopping_puts_the_deploy_in_flight_back_and_a_restart_takes_it_up(bench: Bench) -> None:
    bench.pipeline.scripts[A] = _for_ever
    async with bench.serving():
        deploy = await bench.push(A)
        await bench.pipeline.began.get()
    back = await bench.store.deploy("iris", deploy.number)
    assert back is not None
    assert (back.status, back.reason) == (Status.QUEUED, "deployd was stopped")
    del bench.pipeline.scripts[A]
    async with bench.serving():
        await bench.ends(deploy, Status.LIVE)


async def test_a_disk_that_is_full_does_not_keep_the_lane_from_stopping(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, write = asyncio.Event(), bench.store._database.write

    async def refused(work: Work[object]) -> object:
        if full.is_set():
            raise Unavailable("the state cannot be written: database or disk is full")
        return await write(work)

    bench.pipeline.scripts[A] = _for_ever
    monkeypatch.setattr(bench.store._database, "write", refused)
    async with asyncio.timeout(20), bench.serving():
        deploy = await bench.push(A)
        await bench.pipeline.began.get()
        full.set()
        bench.store.stop_waiting()
    left = await bench.store.deploy("iris", deploy.number)
    assert left is not None
    assert left.status is Status.BUILDING
    full.clear()
    del bench.pipeline.scripts[A]
    async with bench.serving():
        await bench.ends(deploy, Status.LIVE)


async def test_an_old_push_makes_way_for_the_head_of_its_branch(bench: Bench) -> None:
    async def outdated(deploy: Deploy) -> None:
        raise Outdated(("refs/heads/main", B))

    bench.pipeline.scripts[A] = outdated
    async with bench.serving():
        old = await bench.ends(await bench.push(A), Status.SUPERSEDED)
        head = await bench.store.deploy("iris", 2)
        assert old.superseded_by == 2
        assert head is not None
        assert (head.commit, head.trigger.kind) == (B, "poll")
        await bench.ends(head, Status.LIVE)
        again = await bench.ends(await bench.push(A), Status.SUPERSEDED)
        assert again.superseded_by == 2
        assert len(await bench.store.deploys("iris")) == 3


async def test_a_push_to_a_branch_that_is_gone_is_cancelled(bench: Bench) -> None:
    async def gone(deploy: Deploy) -> None:
        raise Outdated(None)

    bench.pipeline.scripts[A] = gone
    async with bench.serving():
        assert "gone from the remote" in (await bench.ends(await bench.push(A), Status.CANCELLED)).reason


async def test_pushes_without_end_let_a_deploy_finish_after_the_guard(bench: Bench) -> None:
    async with bench.serving():
        bench.lane.config = bench.lane.config.model_copy(
            update={"supersede": bench.lane.config.supersede.model_copy(update={"finish_after": 0.0})}
        )
        go_on = asyncio.Event()

        async def long(deploy: Deploy) -> None:
            await go_on.wait()

        bench.pipeline.scripts[A] = long
        first = await bench.push(A)
        await bench.pipeline.began.get()
        second = await bench.push(B)
        go_on.set()
        await bench.ends(second, Status.LIVE)
        assert (await bench.ends(first, Status.RETIRED)).live_at is not None


class Clock:
    """The time as the lane sees it, which the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("deployd.lane.time", made)
    return made


async def test_the_guard_counts_from_the_first_of_the_pushes_that_superseded_each_other(
    bench: Bench, clock: Clock
) -> None:
    go_on = asyncio.Event()

    async def long(deploy: Deploy) -> None:
        await go_on.wait()

    bench.pipeline.scripts = {A: _for_ever, B: long}
    almost = 0.6 * bench.lane.config.supersede.finish_after
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        clock.now += almost
        second = await bench.push(B)
        await bench.ends(first, Status.SUPERSEDED)
        await bench.pipeline.began.get()
        clock.now += almost
        third = await bench.push(C)
        go_on.set()
        await bench.ends(third, Status.LIVE)
        assert (await bench.ends(second, Status.RETIRED)).live_at is not None


async def test_the_guard_begins_anew_when_nothing_waits_any_more(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, take_newest = asyncio.Event(), bench.store.take_newest

    async def taken(app: str) -> Deploy | None:
        if (deploy := await take_newest(app)) is None:
            idle.set()
        return deploy

    async def outdated(deploy: Deploy) -> None:
        raise Outdated(("refs/heads/main", B))

    monkeypatch.setattr(bench.store, "take_newest", taken)
    bench.pipeline.scripts = {A: outdated, C: _for_ever}
    async with bench.serving():
        await bench.ends(await bench.push(B), Status.LIVE)
        await bench.ends(await bench.push(A), Status.SUPERSEDED)
        idle.clear()
        bench.lane.look()
        await idle.wait()
        clock.now += 2 * bench.lane.config.supersede.finish_after
        third = await bench.push(C)
        while (await bench.pipeline.began.get()).number != third.number:
            pass
        await bench.push(A)
        await bench.ends(third, Status.SUPERSEDED)


async def test_pushes_to_a_paused_app_wait_and_the_newest_wins_on_resume(bench: Bench) -> None:
    await bench.store.pause("iris", paused=True)
    bench.lane.pause(paused=True)
    async with bench.serving():
        first, second = await bench.push(A), await bench.push(B)
        await bench.store.pause("iris", paused=False)
        bench.lane.pause(paused=False)
        await bench.ends(second, Status.LIVE)
        await bench.ends(first, Status.SUPERSEDED)


async def test_a_push_to_a_paused_app_leaves_the_deploy_in_flight_alone(bench: Bench) -> None:
    go_on = asyncio.Event()

    async def long(deploy: Deploy) -> None:
        await go_on.wait()

    bench.pipeline.scripts[A] = long
    async with bench.serving():
        first = await bench.push(A)
        await bench.pipeline.began.get()
        await bench.store.pause("iris", paused=True)
        bench.lane.pause(paused=True)
        second = await bench.push(B)
        go_on.set()
        await bench.ends(first, Status.LIVE)
        assert (await bench.ends(second, Status.QUEUED)).number == second.number
        await bench.store.pause("iris", paused=False)
        bench.lane.pause(paused=False)
        await bench.ends(second, Status.LIVE)


async def test_a_deploy_that_fails_before_it_begins_for_want_of_the_disk_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (0.01,))
    run, tries = bench.pipeline.run, iter([Unavailable("cannot open the log")])

    async def first_without_a_log(app: App, deploy: Deploy, outrun: Callable[[], Awaitable[bool]]) -> None:
        for exc in tries:
            raise exc
        await run(app, deploy, outrun)

    monkeypatch.setattr(bench.pipeline, "run", first_without_a_log)
    async with bench.serving():
        await bench.ends(await bench.push(A), Status.LIVE)


async def test_only_an_end_is_counted_and_by_its_own_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (0.01,))

    def counted() -> dict[str, float]:
        (metric,) = DEPLOYS.collect()
        totals = (sample for sample in metric.samples if sample.name.endswith("_total"))
        return {sample.labels["status"]: sample.value for sample in totals if sample.labels["app"] == "iris"}

    async def away(deploy: Deploy) -> None:
        del bench.pipeline.scripts[B]
        raise Unavailable("the registry is away")

    async def outdated(deploy: Deploy) -> None:
        raise Outdated(("refs/heads/main", B))

    before = counted()
    bench.pipeline.scripts |= {A: outdated, B: away}
    async with bench.serving():
        await bench.ends(await bench.push(A), Status.SUPERSEDED)
        async with asyncio.timeout(20):
            await bench.pipeline.tidied.get()
    grown = {status: value - before.get(status, 0) for status, value in counted().items()}
    assert {status: value for status, value in grown.items() if value} == {"superseded": 1, "live": 1}


async def test_a_database_that_is_held_while_a_deploy_ends_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.lane._RETRY_SECONDS", (0.01,))
    queue, refused = bench.store.queue_once, iter([Unavailable("the database is locked")])

    async def refusing(wanted: Wanted) -> Deploy:
        for exc in refused:
            raise exc
        return await queue(wanted)

    async def outdated(deploy: Deploy) -> None:
        raise Outdated(("refs/heads/main", B))

    bench.pipeline.scripts[A] = outdated
    first = await bench.push(A)
    monkeypatch.setattr(bench.store, "queue_once", refusing)
    async with bench.serving():
        assert (await bench.ends(first, Status.SUPERSEDED)).superseded_by == 2


async def test_recovery_waits_for_the_engine(bench: Bench) -> None:
    bench.world.away = 3
    async with bench.serving():
        await bench.ends(await bench.push(A), Status.LIVE)


async def _left_at(bench: Bench, *statuses: Status) -> Deploy:
    deploy = await bench.store.queue(Wanted("iris", A, "refs/heads/main", Trigger("push", "guid")))
    for status in statuses:
        deploy = await bench.store.advance(deploy, status)
    return deploy


async def test_recovery_records_a_switch_that_happened(bench: Bench) -> None:
    deploy = await _left_at(bench, Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT)
    bench.world.number = deploy.number
    async with bench.serving():
        assert "found done" in (await bench.ends(deploy, Status.LIVE)).reason
        assert bench.pipeline.began.empty()


@pytest.mark.parametrize(
    "statuses", [(Status.BUILDING,), (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT)], ids=["build", "roll-out"]
)
async def test_recovery_takes_up_an_interrupted_deploy(bench: Bench, statuses: tuple[Status, ...]) -> None:
    deploy = await _left_at(bench, *statuses)
    async with bench.serving():
        await bench.ends(deploy, Status.LIVE)
        assert bench.pipeline.began.get_nowait().number == deploy.number


async def test_recovery_after_a_loss_of_the_state_numbers_above_what_serves(bench: Bench) -> None:
    bench.world.number = 7
    await bench.push(A)
    async with bench.serving():
        async with asyncio.timeout(20):
            deploy = await bench.pipeline.began.get()
        assert (deploy.number, deploy.commit) == (8, A)


async def test_recovery_brings_the_recorded_release_back(bench: Bench) -> None:
    deploy = await _left_at(bench, Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)
    async with bench.serving():
        assert await bench.pipeline.tidied.get() == deploy.number
        assert bench.world.restored == [deploy.number]


@pytest.mark.parametrize(
    "trouble",
    [RolloutFailed("deployments is forbidden"), ConfigError("the cluster's credentials cannot be read")],
    ids=["403", "kubeconfig"],
)
async def test_an_app_whose_target_refuses_waits_alone_until_that_is_mended(
    bench: Bench, trouble: DeploydError
) -> None:
    await _left_at(bench, Status.BUILDING, Status.ROLLING_OUT, Status.LIVE)
    bench.world.trouble = [trouble] * 3
    async with bench.serving():
        await bench.ends(await bench.push(B), Status.LIVE)
    assert bench.world.trouble == []
    assert bench.world.restored == [1]


async def _fails_in_its_rollout(bench: Bench, deploy: Deploy) -> None:
    await bench.store.advance(deploy, Status.ROLLING_OUT)
    bench.world.number = None
    raise RolloutFailed("never ready")


async def test_what_a_failed_rollout_could_not_put_back_is_put_back_before_anything_newer(bench: Bench) -> None:
    live = await _left_at(bench, Status.BUILDING, Status.ROLLING_OUT, Status.LIVE)
    bench.world.number = live.number
    bench.world.refused = [Unavailable("the cluster is away")] * 3
    order: list[str] = []

    async def fails(deploy: Deploy) -> None:
        await bench.store.queue(Wanted("iris", C, "refs/heads/main", Trigger("push", "newer")))
        await _fails_in_its_rollout(bench, deploy)

    async def newer(deploy: Deploy) -> None:
        order.append(f"newer, {bench.world.number} serves")

    bench.pipeline.scripts |= {B: fails, C: newer}
    async with bench.serving():
        failed = await bench.push(B)
        await bench.ends(failed, Status.FAILED)
        newest = await bench.store.deploy("iris", failed.number + 1)
        assert newest is not None
        await bench.ends(newest, Status.LIVE)
    assert order == [f"newer, {live.number} serves"]
    assert bench.world.restored == [live.number]


async def test_a_first_deploy_that_fails_in_its_rollout_leaves_nothing(bench: Bench) -> None:
    async with bench.serving():
        await bench.world.swept.wait()
        bench.world.swept.clear()
        bench.pipeline.scripts[A] = lambda deploy: _fails_in_its_rollout(bench, deploy)
        await bench.ends(await bench.push(A), Status.FAILED)
        async with asyncio.timeout(20):
            await bench.world.swept.wait()


async def test_a_deploy_that_fails_before_its_cut_over_needs_nothing_put_back(bench: Bench) -> None:
    async def fails(deploy: Deploy) -> None:
        raise BuildFailed("no such base")

    live = await _left_at(bench, Status.BUILDING, Status.ROLLING_OUT, Status.LIVE)
    bench.world.number = live.number
    bench.pipeline.scripts[B] = fails
    async with bench.serving():
        await bench.pipeline.tidied.get()
        bench.world.trouble = [RolloutFailed("nobody should ask")]
        await bench.ends(await bench.push(B), Status.FAILED)
        await bench.ends(await bench.push(C), Status.LIVE)
    assert len(bench.world.trouble) == 1


@pytest.mark.parametrize("paused", [True, False])
async def test_an_interrupted_rollout_is_put_back_before_it_is_taken_up_or_waits(bench: Bench, paused: bool) -> None:
    live = await _left_at(bench, Status.BUILDING, Status.ROLLING_OUT, Status.LIVE)
    deploy = await _left_at(bench, Status.BUILDING, Status.ROLLING_OUT)
    await bench.store.pause("iris", paused=paused)
    bench.lane.pause(paused=paused)
    async with bench.serving():
        assert await bench.pipeline.tidied.get() == live.number
        assert bench.world.restored == [live.number]
        if not paused:
            await bench.ends(deploy, Status.LIVE)
