import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.config.file import parse
from deployd.domain import Delivery, Deploy, Status, Trigger, Wanted
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.heads import Heads
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.wanted import wanted_head
from tests.fakes import FakeSource

REPO = "https://example.com/acme/iris.git"
A, B = "a" * 40, "b" * 40
MAIN = "refs/heads/main"


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
    await _goes_live(store, deploy)


async def _goes_live(store: Store, deploy: Deploy) -> None:
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


async def test_the_lag_grows_while_the_head_does_not_serve_though_the_remote_is_away(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    assert heads.lag(await store.state("iris")) == 0
    await heads.look(_app())
    first = heads.lag(await store.state("iris"))
    source.away = True
    with pytest.raises(Unavailable):
        await heads.look(_app())
    assert 0 < first < heads.lag(await store.state("iris"))


async def test_the_lag_counts_from_the_first_head_that_did_not_serve(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    await heads.look(_app())
    first = heads.lag(await store.state("iris"))
    source.remotes[REPO]["refs/heads/main"] = B
    await heads.look(_app())
    assert heads.lag(await store.state("iris")) > first


async def test_the_lag_ends_without_a_poll_when_the_head_goes_live_and_stays_so_until_the_next_one(
    store: Store,
) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    await heads.look(_app())
    await _live(store, Wanted("iris", A, MAIN, Trigger("manual")))
    assert heads.lag(await store.state("iris")) == 0
    source.remotes[REPO]["refs/heads/main"] = B
    began = time.monotonic()
    await heads.look(_app())
    assert 0 < heads.lag(await store.state("iris")) <= time.monotonic() - began


async def test_the_lag_ends_when_a_head_that_a_push_told_of_since_goes_live(store: Store) -> None:
    heads = Heads(store, FakeSource({REPO: {"refs/heads/main": A}}), store.queue)
    await heads.look(_app())
    await _live(store, Wanted("iris", B, MAIN, Trigger("push", "1")))
    assert heads.lag(await store.state("iris")) == 0


async def test_what_was_told_of_before_the_head_or_is_a_persons_choice_does_not_end_the_lag(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    older = await store.queue(Wanted("iris", B, MAIN, Trigger("push", "1")))
    await heads.look(_app())
    await _goes_live(store, older)
    await heads.look(_app())
    assert heads.lag(await store.state("iris")) > 0
    await _live(store, Wanted("iris", "c" * 40, MAIN, Trigger("manual")))
    assert heads.lag(await store.state("iris")) > 0


async def test_a_branch_that_is_gone_or_a_head_that_was_declined_is_nothing_to_be_behind_of(store: Store) -> None:
    source = FakeSource({REPO: {"refs/heads/main": A}})
    heads = Heads(store, source, store.queue)
    await heads.look(_app())
    source.remotes[REPO] = {}
    await heads.look(_app())
    assert heads.lag(await store.state("iris")) == 0
    await _live(store, Wanted("iris", A, MAIN, Trigger("poll")))
    source.remotes[REPO]["refs/heads/main"] = B
    await heads.look(_app())
    assert heads.lag(await store.state("iris")) > 0
    declined = Wanted("iris", B, MAIN, Trigger("push", "1"), before=A, declined=True)
    await store.accept(Delivery("github", "1", "push"), [declined])
    await heads.look(_app())
    assert heads.lag(await store.state("iris")) == 0


async def test_the_lag_of_an_app_that_a_reload_takes_away_is_forgotten(store: Store) -> None:
    source, apps = FakeSource({REPO: {"refs/heads/main": A}}), [_app()]
    queued: asyncio.Queue[str] = asyncio.Queue()

    async def ask(wanted: Wanted) -> None:
        await store.queue(wanted)
        queued.put_nowait(wanted.app)

    heads = Heads(store, source, ask)
    watching = asyncio.create_task(heads.watch(lambda: tuple(apps), lambda: 0.0))
    async with asyncio.timeout(20):
        assert await queued.get() == "iris"
        assert heads.lag(await store.state("iris")) > 0
        apps[0] = _app("rose")
        heads.wake()
        assert await queued.get() == "rose"
    assert heads.lag(await store.state("iris")) == 0
    watching.cancel()
    await asyncio.wait({watching})


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
