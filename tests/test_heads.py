import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deployd.config.app import App
from deployd.config.file import parse
from deployd.domain import Delivery, Status, Trigger, Wanted
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.heads import Heads
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.wanted import wanted_head
from tests.fakes import FakeSource

REPO = "https://example.com/acme/iris.git"
A, B = "a" * 40, "b" * 40


def _app(name: str = "iris", repo: str = REPO, **more: object) -> App:
    port = 8000 + sum(name.encode())
    return parse({"app": [{"name": name, "repo": repo, "branch": "main", "gateway": {"listen": port}} | more]}).app[0]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


async def _live(store: Store, wanted: Wanted) -> None:
    deploy = await store.queue(wanted)
    if wanted.trigger.kind == "poll":
        await store.see(deploy.app, deploy.commit)
    for status in (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
        deploy = await store.advance(deploy, status)


async def test_a_head_that_no_hook_told_of_is_asked_for_once(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A, "refs/heads/other": B}})
    heads = Heads(store, source, store.queue)
    assert await heads.look(_app())
    assert not await heads.look(_app())
    (deploy,) = await store.deploys("iris")
    assert (deploy.commit, deploy.ref, deploy.trigger.kind) == (A, "refs/heads/main", "poll")


async def test_a_head_that_failed_is_not_tried_again_but_the_next_one_is(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    await heads.look(_app())
    await store.see("iris", A)
    await store.advance((await store.deploys("iris"))[0], Status.FAILED, reason="no")
    assert not await heads.look(_app())
    source.remotes[REPO]["refs/heads/main"] = B
    assert await heads.look(_app())


async def test_a_release_asked_for_by_hand_is_left_alone_until_the_branch_moves(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, lambda wanted: _live(store, wanted))
    await heads.look(_app())
    await _live(
        store, Wanted("iris", B, "refs/heads/main", (await store.deploys("iris"))[0].trigger.__class__("manual"))
    )
    assert not await heads.look(_app())
    source.remotes[REPO]["refs/heads/main"] = "c" * 40
    assert await heads.look(_app())


async def test_a_head_that_the_app_declined_is_left_alone(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    declined = Wanted("iris", A, "refs/heads/main", Trigger("push", "1"), declined=True)
    await store.accept(Delivery("github", "1", "push"), [declined])
    assert not await Heads(store, source, store.queue).look(_app())


async def test_a_branch_that_is_gone_asks_for_nothing(store: Store) -> None:
    assert not await Heads(store, FakeSource({REPO: {}}), store.queue).look(_app())


async def test_the_lag_behind_the_head_is_measured(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, lambda wanted: _live(store, wanted))
    await heads.look(_app())
    await heads.look(_app())
    assert REGISTRY.get_sample_value("deployd_head_lag_seconds", {"app": "iris"}) == pytest.approx(0, abs=1e-3)
    source.remotes[REPO]["refs/heads/main"] = B
    heads = Heads(store, source, store.queue)
    await heads.look(_app())
    await heads.look(_app())
    lag = REGISTRY.get_sample_value("deployd_head_lag_seconds", {"app": "iris"})
    assert lag is not None
    assert lag > 0


async def test_the_watch_looks_at_the_start_and_goes_on_after_a_failure(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    source.away = True
    queued = asyncio.Event()

    async def ask(wanted: Wanted) -> None:
        await store.queue(wanted)
        queued.set()

    heads = Heads(store, source, ask)
    apps = (_app(), _app("rose"))
    watching = asyncio.create_task(heads.watch(lambda: apps, lambda: 0.01))
    async with asyncio.timeout(20):
        for _ in range(4):
            await source.asked.get()
        source.away = False
        await queued.wait()
    watching.cancel()
    await asyncio.wait({watching})


def test_of_several_tags_the_highest_version_is_wanted() -> None:
    tags = {f"refs/tags/{name}": name for name in ("v1.9", "v1.10", "v1.2", "v1.10-rc1")}
    assert wanted_head(tags) == ("refs/tags/v1.10", "v1.10")
    assert wanted_head({}) is None


async def test_an_app_that_a_reload_adds_is_looked_at_at_once_though_its_repository_was(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A, "refs/heads/next": B}})
    queued: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def ask(wanted: Wanted) -> None:
        await store.queue(wanted)
        queued.put_nowait((wanted.app, wanted.commit))

    apps = [_app()]
    heads = Heads(store, source, ask)
    watching = asyncio.create_task(heads.watch(lambda: tuple(apps), lambda: 0.0))
    async with asyncio.timeout(20):
        assert await queued.get() == ("iris", A)
        apps.append(_app("rose"))
        heads.wake()
        assert await queued.get() == ("rose", A)
        apps[1] = _app("rose", branch="next")
        heads.wake()
        assert await queued.get() == ("rose", B)
    watching.cancel()
    await asyncio.wait({watching})
    assert source.asked.qsize() == 5


async def test_a_poll_that_a_reload_asks_for_begins_at_once(store: Store) -> None:
    source, pace = FakeSource({REPO: {}}), [0.0]
    apps = (_app(),)
    heads = Heads(store, source, store.queue)
    watching = asyncio.create_task(heads.watch(lambda: apps, lambda: pace[0]))
    async with asyncio.timeout(20):
        await source.asked.get()
        pace[0] = 0.01
        heads.wake()
        for _ in range(3):
            await source.asked.get()
    watching.cancel()
    await asyncio.wait({watching})


class _HalfAway(FakeSource):
    """One of its repositories does not answer."""

    async def ping(self, app: App) -> None:
        if app.repo != REPO:
            raise Unavailable(f"{app.repo} is away")


async def test_a_repository_that_fails_is_asked_less_and_less_often_and_the_others_as_before(store: Store) -> None:
    source, away = _HalfAway({REPO: {}}), "https://example.com/acme/rose.git"
    apps = (_app(), _app("rose", away))
    watching = asyncio.create_task(Heads(store, source, store.queue).watch(lambda: apps, lambda: 0.05))
    asked: list[str] = []
    async with asyncio.timeout(60):
        while asked.count(REPO) < 20:
            asked.append(await source.asked.get())
    watching.cancel()
    await asyncio.wait({watching})
    assert 2 <= asked.count(away) <= 8


class _HalfHanging(FakeSource):
    """One of its repositories never answers."""

    async def ping(self, app: App) -> None:
        if app.repo != REPO:
            await asyncio.Event().wait()


async def test_a_repository_that_hangs_does_not_hold_up_the_others(store: Store) -> None:
    source, hanging = _HalfHanging({REPO: {}}), "https://example.com/acme/rose.git"
    apps = (_app("rose", hanging), _app())
    watching = asyncio.create_task(Heads(store, source, store.queue).watch(lambda: apps, lambda: 0.01))
    async with asyncio.timeout(60):
        for _ in range(5):
            while await source.asked.get() != REPO:
                pass
    watching.cancel()
    await asyncio.wait({watching})


def test_pauses_are_spread_grow_with_failures_to_a_limit_and_never_end_without_a_poll() -> None:
    usual = [Heads._pause(100.0, 0) for _ in range(200)]
    assert 90 <= min(usual) < 95
    assert 105 < max(usual) <= 110
    assert 360 <= Heads._pause(100.0, 2) <= 440
    assert 1440 <= Heads._pause(100.0, 1000) <= 1760
    assert Heads._pause(0.0, 0) == float("inf")


def test_without_a_poll_a_remote_that_was_away_at_the_start_is_asked_again() -> None:
    assert 108 <= Heads._pause(0.0, 1) <= 132
