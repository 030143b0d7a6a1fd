"""The scheduler over a real store and real lanes; deploys go live at once unless a test holds them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.domain import Delivery, Deploy, Image, Status, Trigger, Wanted
from deployd.errors import ConfigError, RequestRefused, Unavailable
from deployd.events import Events
from deployd.ports import Target
from deployd.scheduler import Scheduler
from deployd.store.database import Database
from deployd.store.store import Store
from tests.fakes import FakeSource
from tests.test_lane import Cleaning, ScriptedPipeline, World
from tests.works import works

REPO = "https://example.com/acme/iris.git"
A, B, C = "a" * 40, "b" * 40, "c" * 40


def _config(*names: str) -> Config:
    apps = [
        {"name": name, "repo": REPO, "branch": "main", "gateway": {"listen": 8000 + at}}
        for at, name in enumerate(names)
    ]
    return parse({"app": apps, "git": {"poll_every": "1h"}})


class Removable(World):
    """A target that remembers what was taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.removed: list[str] = []

    async def remove(self, app: str) -> None:
        self.removed.append(app)


class Desk:
    """A scheduler and what it works with."""

    def __init__(self, store: Store, events: Events, config: Config) -> None:
        self.store, self.events = store, events
        self.source = FakeSource({REPO: {}})
        self.pipeline = ScriptedPipeline(store)
        self.world = Removable()
        targets = {"docker": cast("Target", self.world)}
        self.scheduler = Scheduler(config, store, self.source, self.pipeline, targets)

    async def becomes(self, name: str, status: Status) -> Deploy:
        app, number = name.split("/")
        async with asyncio.timeout(20):
            watch = self.events.watch(after=0)
            while True:
                now = await self.store.deploy(app, int(number))
                if now is not None and now.status is status:
                    return now
                await anext(watch)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Scheduler]:
        task = asyncio.create_task(self.scheduler.serve())
        async with asyncio.timeout(20):
            await self.source.asked.get()  # the first poll: all lanes stand
        try:
            yield self.scheduler
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    events = Events()
    async with Database(tmp_path / "db") as database:
        yield Desk(Store(database, events), events, _config("iris", "rose"))


def _push(commit: str, *apps: str) -> list[Wanted]:
    return [Wanted(app, commit, "refs/heads/main", Trigger("push", "guid")) for app in apps]


async def test_a_delivery_deploys_every_app_of_its_repository(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        deploys, _ = await scheduler.accept(Delivery("github", "1", "push"), _push(A, "iris"))
        assert [deploy.name for deploy in deploys] == ["iris/1"]
        await desk.becomes("iris/1", Status.LIVE)
        await scheduler.accept(Delivery("github", "2", "push"), _push(B, "iris", "rose"))
        await desk.becomes("iris/2", Status.LIVE)
        await desk.becomes("rose/1", Status.LIVE)


async def test_what_was_queued_before_a_restart_is_taken_up(desk: Desk) -> None:
    await desk.store.accept(Delivery("github", "1", "push"), _push(A, "iris"))
    async with desk.serving():
        await desk.becomes("iris/1", Status.LIVE)


async def test_a_push_that_no_hook_told_of_is_found_at_the_start(desk: Desk) -> None:
    desk.source.remotes[REPO]["refs/heads/main"] = A
    async with desk.serving():
        await desk.becomes("iris/1", Status.LIVE)
        await desk.becomes("rose/1", Status.LIVE)


async def test_a_branch_a_tag_or_a_commit_can_be_deployed_by_hand(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        desk.source.remotes[REPO] = {"refs/heads/main": A, "refs/heads/next": B, "refs/tags/v1": C}
        for number, (name, commit) in enumerate(((None, A), ("next", B), ("v1", C), (A, A)), start=1):
            deploy = await scheduler.deploy("iris", name, "ada")
            assert (deploy.commit, deploy.trigger) == (commit, Trigger("manual", by="ada"))
            await desk.becomes(f"iris/{number}", Status.LIVE)
        with pytest.raises(RequestRefused, match="no nowhere"):
            await scheduler.deploy("iris", "nowhere", None)


async def test_an_unknown_app_is_refused_with_the_known_ones(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        with pytest.raises(RequestRefused, match="no app lily") as caught:
            await scheduler.deploy("lily", None, None)
        assert caught.value.hint == "configured apps: iris, rose"


async def _release(desk: Desk, commit: str) -> Deploy:
    (deploy,), _ = await desk.scheduler.accept(Delivery("github", commit, "push"), _push(commit, "iris"))
    deploy = await desk.becomes(deploy.name, Status.LIVE)
    await desk.store.record_image(deploy, Image("deployd/iris", commit, f"sha256:{commit}"))
    return deploy


async def test_a_rollback_goes_to_the_release_before_with_its_kept_image(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await _release(desk, A)
        await _release(desk, B)
        back = await scheduler.rollback("iris", None, "ada")
        live = await desk.becomes(back.name, Status.LIVE)
        assert (live.commit, live.rollback_to, live.trigger.kind) == (A, 1, "rollback")
        assert live.image is not None
        assert live.image.id == f"sha256:{A}"


async def test_a_rollback_to_what_never_was_live_is_refused(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        with pytest.raises(RequestRefused, match="no live release"):
            await scheduler.rollback("iris", None, None)
        await _release(desk, A)
        with pytest.raises(RequestRefused, match="no earlier release"):
            await scheduler.rollback("iris", None, None)
        with pytest.raises(RequestRefused, match="iris/9 never was live"):
            await scheduler.rollback("iris", 9, None)


async def test_a_queued_deploy_and_one_in_flight_can_be_cancelled(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await scheduler.pause("iris", paused=True)
        await scheduler.accept(Delivery("github", "1", "push"), _push(A, "iris"))
        assert (await scheduler.cancel("iris", 1)).status is Status.CANCELLED
        with pytest.raises(RequestRefused, match="is cancelled already"):
            await scheduler.cancel("iris", 1)
        with pytest.raises(RequestRefused, match="no deploy iris/7"):
            await scheduler.cancel("iris", 7)
        await scheduler.pause("iris", paused=False)

        async def for_ever(deploy: Deploy) -> None:
            await asyncio.Event().wait()

        desk.pipeline.scripts[B] = for_ever
        await scheduler.accept(Delivery("github", "2", "push"), _push(B, "iris"))
        await desk.pipeline.began.get()
        await scheduler.cancel("iris", 2)
        await desk.becomes("iris/2", Status.CANCELLED)


async def test_an_app_that_is_gone_from_the_config_serves_on_until_it_is_removed(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await _release(desk, A)
        with pytest.raises(RequestRefused, match="still in the config"):
            await scheduler.remove("iris")
        scheduler.reload(_config("rose"))
        assert (await desk.store.state("iris")).live is not None
        assert desk.world.removed == []
        await scheduler.remove("iris")
        assert desk.world.removed == ["iris"]
        assert (await desk.store.state("iris")).live is None
        with pytest.raises(RequestRefused, match="no app lily"):
            await scheduler.remove("lily")


async def test_a_reload_takes_up_a_new_app(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        scheduler.reload(_config("iris", "rose", "lily"))
        await scheduler.accept(Delivery("github", "1", "push"), _push(A, "lily"))
        await desk.becomes("lily/1", Status.LIVE)


async def test_an_app_that_comes_back_waits_until_its_former_lane_is_done(desk: Desk) -> None:
    cleaning = Cleaning()
    async with desk.serving() as scheduler:
        desk.pipeline.scripts[A] = cleaning
        await scheduler.accept(Delivery("github", "1", "push"), _push(A, "iris"))
        await desk.pipeline.began.get()
        scheduler.reload(_config("rose"))
        scheduler.reload(_config("iris", "rose"))
        await cleaning.begun.wait()
        del desk.pipeline.scripts[A]
        cleaning.let_end.set()
        await desk.becomes("iris/1", Status.LIVE)


async def test_an_app_is_removed_after_its_lane_has_put_its_things_away(desk: Desk) -> None:
    cleaning = Cleaning()
    async with desk.serving() as scheduler:
        desk.pipeline.scripts[A] = cleaning
        await scheduler.accept(Delivery("github", "1", "push"), _push(A, "iris"))
        await desk.pipeline.began.get()
        scheduler.reload(_config("rose"))
        await cleaning.begun.wait()
        removing = asyncio.create_task(scheduler.remove("iris"))
        await desk.store.known_apps()
        assert desk.world.removed == []
        cleaning.let_end.set()
        await removing
        assert desk.world.removed == ["iris"]


async def test_an_app_that_runs_where_this_daemon_reaches_nothing_is_not_forgotten(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await _release(desk, A)
        live = (await desk.store.state("iris")).live
        assert live is not None
        await desk.store.record_image(live, Image("registry.example.com/iris", "a", "sha256:1", "sha256:" + "1" * 64))
        scheduler.reload(_config("rose"))
        with pytest.raises(RequestRefused, match="ran on kubernetes"):
            await scheduler.remove("iris")
        assert (await desk.store.state("iris")).live is not None
        assert desk.world.removed == []


async def test_old_deliveries_that_cannot_be_forgotten_now_stay_for_another_day(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def refusing(older_than: float) -> int:
        asked.set()
        raise Unavailable("the database is locked")

    monkeypatch.setattr(desk.store, "forget_deliveries", refusing)
    async with desk.serving() as scheduler:
        await asked.wait()
        await scheduler.accept(Delivery("github", "1", "push"), _push(A, "iris"))
        await desk.becomes("iris/1", Status.LIVE)


async def test_a_reload_that_needs_a_new_target_changes_nothing(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        before = scheduler.config
        app = {"name": "lily", "repo": REPO, "branch": "main", "target": "kubernetes", "kubernetes": {}}
        with pytest.raises(ConfigError, match=r"app\.lily\.target"):
            scheduler.reload(parse({"app": [app], "registry": {"url": "registry.example.com"}}))
        assert scheduler.config is before


async def test_what_the_poll_found_is_deployed_though_a_reload_stops_the_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with works(tmp_path) as shop:
        head = shop.commit()
        queue_once = shop.store.queue_once

        async def stopped_meanwhile(wanted: Wanted) -> Deploy:
            polling.cancel()
            return await queue_once(wanted)

        monkeypatch.setattr(shop.store, "queue_once", stopped_meanwhile)
        polling = asyncio.create_task(shop.polled())
        with pytest.raises(asyncio.CancelledError):
            await polling
        await shop.serves(head)
