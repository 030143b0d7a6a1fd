"""What is asked of the scheduler, over a real store and real lanes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.delivery import Delivery, Followed, Push
from deployd.domain import Deploy
from deployd.errors import RequestRefused
from deployd.goal import Head, Skip, Trigger, Wanted
from deployd.status import Status
from tests.desk import MAIN, REPO
from tests.lanes import A, B, C, for_ever
from tests.scheduling import Desk, a_desk, delivery_of
from tests.works import works


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def test_a_delivery_deploys_every_app_that_follows_its_ref(desk: Desk) -> None:
    async with desk.serving():
        assert await desk.pushed(A, "iris", "rose") == ["iris", "rose"]
        await desk.becomes("iris/1", Status.LIVE)
        await desk.becomes("rose/1", Status.LIVE)
        assert await desk.pushed(B, "iris", "rose") == ["iris", "rose"]
        await desk.becomes("iris/2", Status.LIVE)
        await desk.becomes("rose/2", Status.LIVE)


async def test_a_look_that_was_owed_before_a_restart_is_taken(desk: Desk) -> None:
    delivery, followed = delivery_of(A)
    await desk.store.accept(delivery, followed)
    desk.source.remotes[REPO][MAIN] = A
    async with desk.serving():
        live = await desk.becomes("iris/1", Status.LIVE)
    assert live.trigger == Trigger("push", delivery=delivery.guid)
    assert (await desk.store.state("iris")).owed_since is None


async def test_a_redelivery_reaches_the_apps_of_all_refs_of_thedelivery_of(desk: Desk) -> None:
    dev = "refs/heads/dev"
    followed = [Followed(Push("x", MAIN, A), ("iris",)), Followed(Push("x", dev, B), ("rose",))]
    await desk.store.accept(Delivery("bitbucket", "g", "push"), followed)
    for one in followed:
        (app,) = one.apps
        (owed,) = (await desk.store.known([app]))[app].owed
        wanted = Wanted(app, one.push.commit, one.push.ref, Trigger("push", "g"))
        deploy = await desk.store.decide(app, Head(one.push.ref, one.push.commit), wanted, owed.id)
        assert deploy is not None
        await desk.store.advance(deploy, Status.FAILED)
    await desk.scheduler.redeliver("g", "ada")
    known = await desk.store.known(["iris", "rose"])
    assert [[owed.commit for owed in known[app].owed] for app in ("iris", "rose")] == [[A], [B]]


async def test_a_push_that_no_hook_told_of_is_found_at_the_start(desk: Desk) -> None:
    desk.source.remotes[REPO][MAIN] = A
    async with desk.serving():
        await desk.becomes("iris/1", Status.LIVE)
        await desk.becomes("rose/1", Status.LIVE)


async def test_steps_that_a_killed_daemon_left_running_are_ended_at_the_start(desk: Desk) -> None:
    deploy = await desk.store.queue(Wanted("lily", A, MAIN, Trigger("manual")))
    await desk.store.begin_step(deploy, "build")
    async with desk.serving():
        now = await desk.store.deploy("lily", 1)
    assert now is not None
    assert [step.status for step in now.steps] == ["cancelled"]


async def test_a_branch_a_tag_or_a_commit_can_be_deployed_by_hand(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        desk.source.remotes[REPO] = {MAIN: A, "refs/heads/next": B, "refs/tags/v1": C}
        for number, (name, commit) in enumerate(((None, A), ("next", B), ("v1", C), (A, A)), start=1):
            deploy = await scheduler.deploy("iris", name, "ada")
            assert (deploy.commit, deploy.trigger) == (commit, Trigger("manual", by="ada"))
            await desk.becomes(f"iris/{number}", Status.LIVE)
        with pytest.raises(RequestRefused, match="no nowhere"):
            await scheduler.deploy("iris", "nowhere", None)


async def test_a_deploy_by_hand_of_the_head_is_refused_where_there_is_none(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        with pytest.raises(RequestRefused, match="the remote has no refs/heads/main") as caught:
            await scheduler.deploy("iris", None, "ada")
        assert (caught.value.status, caught.value.hint) == (409, "push it, or change the app's branch or tag")


async def test_a_deploy_by_hand_decides_nothing_about_the_head(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        desk.source.remotes[REPO]["refs/heads/next"] = B
        await desk.becomes(await scheduler.deploy("iris", "next", "ada"), Status.LIVE)
        assert (await desk.store.known(["iris"]))["iris"].decided is None


async def test_an_unknown_app_is_refused_with_the_known_ones(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        with pytest.raises(RequestRefused, match="no app lily") as caught:
            await scheduler.deploy("lily", None, None)
        assert caught.value.hint == "configured apps: iris, rose"


async def test_a_rollback_goes_to_the_release_before_with_its_kept_image(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await desk.deployed(A)
        await desk.deployed(B)
        live = await desk.becomes(await scheduler.rollback("iris", None, "ada"), Status.LIVE)
        assert (live.commit, live.rollback_to, live.trigger) == (A, 1, Trigger("rollback", by="ada"))
        assert live.image is not None
        assert live.image.id == f"sha256:{A}"


async def test_a_rollback_to_what_never_was_live_is_refused(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        with pytest.raises(RequestRefused, match="no live release"):
            await scheduler.rollback("iris", None, None)
        await desk.deployed(A)
        with pytest.raises(RequestRefused, match="no earlier release"):
            await scheduler.rollback("iris", None, None)
        with pytest.raises(RequestRefused, match="iris/9 was never live"):
            await scheduler.rollback("iris", 9, None)


async def test_a_queued_deploy_and_one_in_flight_can_be_cancelled(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await scheduler.pause("iris", paused=True)
        desk.source.remotes[REPO][MAIN] = A
        await scheduler.deploy("iris", None, "ada")
        assert (await scheduler.cancel("iris", 1)).status is Status.CANCELLED
        with pytest.raises(RequestRefused, match="was cancelled already"):
            await scheduler.cancel("iris", 1)
        with pytest.raises(RequestRefused, match="no deploy iris/7"):
            await scheduler.cancel("iris", 7)
        await scheduler.pause("iris", paused=False)
        desk.pipeline.scripts[A] = for_ever
        await scheduler.deploy("iris", None, "ada")
        await desk.pipeline.began.get()
        await scheduler.cancel("iris", 2)
        await desk.becomes("iris/2", Status.CANCELLED)


async def test_a_decided_commit_is_deployed_though_a_reload_stops_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with works(tmp_path) as daemon:
        head = daemon.commit()
        decide = daemon.store.decide

        async def stopped_meanwhile(app: str, found: Head, verdict: Wanted | Skip, upto: int | None) -> Deploy | None:
            looking.cancel()
            return await decide(app, found, verdict, upto)

        monkeypatch.setattr(daemon.store, "decide", stopped_meanwhile)
        looking = asyncio.create_task(daemon.polled())
        with pytest.raises(asyncio.CancelledError):
            await looking
        await daemon.serves(head)
