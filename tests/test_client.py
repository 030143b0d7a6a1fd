"""The client against a real daemon, whose adapters are fakes."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.client import Client
from deployd.domain import Health
from deployd.errors import RequestRefused, Unavailable
from deployd.http.server import bind
from deployd.status import Status
from tests.api.pushes import answered, pushed, troubled
from tests.desk import MAIN, REPO, A, B, Desk, config_of, desk, settings


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, settings("iris", "rose")) as running:
        yield running


@pytest.fixture
async def client(daemon: Desk) -> AsyncIterator[Client]:
    async with daemon.listening() as url, Client(url) as connected:
        yield connected


async def test_a_deploy_can_be_started_followed_and_shown(daemon: Desk, client: Client) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    deploy = await client.deploy("iris")
    async with asyncio.timeout(20):
        seen = [now async for now in client.follow("iris", deploy.number)]
    assert seen[-1].status is Status.LIVE
    assert (await client.app("iris")).live == (await client.apps())[0].live
    assert [one.number for one in (await client.history("iris")).deploys] == [1]
    assert (await client.show("iris", 1)).commit == A


async def test_following_a_deploy_that_has_ended_yields_it_once(daemon: Desk, client: Client) -> None:
    await daemon.deployed(A)
    async with asyncio.timeout(20):
        assert [now.status async for now in client.follow("iris", 1)] == [Status.LIVE]


async def test_the_apps_can_be_watched_by_the_events(daemon: Desk, client: Client) -> None:
    async with asyncio.timeout(20), contextlib.aclosing(client.watch()) as watching:
        assert [(app.name, app.live) for app in await anext(watching)] == [("iris", None), ("rose", None)]
        await daemon.deployed(A)
        while (iris := (await anext(watching))[0]).live is None:
            pass
        assert iris.live.commit == A
        await client.pause("rose")
        while not (await anext(watching))[1].paused:
            pass


async def test_a_release_that_turns_bad_and_a_remote_that_is_away_are_seen_by_who_watches(
    daemon: Desk, client: Client
) -> None:
    await daemon.deployed(A)
    async with asyncio.timeout(20), contextlib.aclosing(client.watch("iris")) as watching:
        await anext(watching)
        daemon.target.healths["iris"] = Health("unready", "/ready: 503")
        assert daemon.target.changed is not None
        daemon.target.changed("iris")
        while (health := (await anext(watching))[0].health) is None or health.state == "ok":
            pass
        assert health.detail == "/ready: 503"
        daemon.source.away = True
        daemon.scheduler.looks.ask(["iris"])
        while (await anext(watching))[0].owed is None:
            pass


async def test_an_app_that_is_removed_is_watched_no_more(daemon: Desk, client: Client) -> None:
    await daemon.deployed(A)
    daemon.next_config = config_of(settings("rose"))
    async with asyncio.timeout(20), contextlib.aclosing(client.watch()) as watching:
        await anext(watching)
        await client.reload()
        await client.remove("iris")
        while [app.name for app in await anext(watching)] != ["rose"]:
            pass


async def test_every_other_call(daemon: Desk, client: Client, tmp_path: Path) -> None:
    await daemon.deployed(A)
    await daemon.deployed(B)
    assert (await client.diff("iris", 1, 2)).differences[0].after == B
    assert (await client.plan("iris", "main")).commit == B
    assert (await client.describe("iris")).running == {"container": "deployd-iris-2"}
    assert (await client.pause("iris")).paused is True
    assert (await client.rollback("iris")).rollback_to == 1
    assert (await client.cancel("iris", 3)).status is Status.CANCELLED
    assert (await client.resume("iris")).paused is False
    daemon.target.replicas = 1
    assert (await client.scale("iris", 2)).name == "iris"
    assert (await client.ready())["engine"] == "ok"
    assert [said async for said in client.execute("iris", ["true"])][-1] == 0
    assert b"".join([block async for block in client.app_log("iris", tail=1)]) == b"two\n"
    copy = tmp_path / "copy"
    assert await client.backup(copy) == copy.stat().st_size
    with contextlib.closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT count(*) FROM deploys").fetchone() == (3,)
    daemon.next_config = config_of(settings("rose"))
    assert (await client.reload()).apps == ["rose"]
    await client.remove("iris")
    assert daemon.target.removed == ["iris"]


@pytest.mark.slow
async def test_the_outcomes_of_deliveries_are_answered(daemon: Desk, client: Client) -> None:
    for guid, commit in (("a:b.c", A), ("2", B)):
        await pushed(daemon, commit, guid)
        await answered(daemon, guid)
    one = await client.delivery("a:b.c")
    assert (one.guid, one.commit, [outcome.deploy for outcome in one.apps]) == ("a:b.c", A, [1])
    page = await client.deliveries(limit=1)
    assert ([each.guid for each in page.deliveries], page.before) == (["2"], page.deliveries[0].id)
    assert [each.guid for each in (await client.deliveries(before=page.before)).deliveries] == ["a:b.c"]
    with pytest.raises(RequestRefused, match="there is no delivery nope"):
        await client.delivery("nope")


@pytest.mark.slow
async def test_a_delivery_is_waited_for_until_its_looks_are_taken(daemon: Desk, client: Client) -> None:
    daemon.source.away = True
    await pushed(daemon, A, "g", "iris", "rose")
    waiting = asyncio.create_task(client.answered("g"))
    async with asyncio.timeout(20):
        await troubled(daemon)
        assert not waiting.done()
        daemon.source.away = False
        found = await waiting
        assert await client.answered("g") == found
    assert [(one.app, one.deploy, one.commit) for one in found.apps] == [("iris", 1, A), ("rose", 1, A)]


async def test_a_refusal_has_the_message_and_hint_of_the_daemon(client: Client) -> None:
    with pytest.raises(RequestRefused, match="iris/9 was never live") as refused:
        await client.rollback("iris", to=9)
    assert (refused.value.status, refused.value.hint) == (409, "deployd history iris shows the deploys")
    with pytest.raises(RequestRefused, match="there is no app nope"):
        await client.deploy("nope")
    with pytest.raises(RequestRefused):
        _ = [block async for block in client.log("iris", 7)]


async def test_a_daemon_that_does_not_run_is_unavailable() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    async with Client(f"http://127.0.0.1:{port}", patience=0) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await client.apps()
        with pytest.raises(Unavailable, match="does not answer"):
            _ = [now async for now in client.follow("iris", 1)]
        with pytest.raises(Unavailable, match="does not answer"):
            await client.answered("g")


@pytest.mark.slow
async def test_a_build_that_prints_nothing_for_long_is_still_followed(
    daemon: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.client._SILENCE_SECONDS", 0.2)
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = asyncio.Event()
    async with daemon.listening() as url, Client(url, patience=0.2) as client, asyncio.timeout(30):
        deploy = await client.deploy("iris")
        asyncio.get_running_loop().call_later(1.5, daemon.builder.held[A].set)
        text = b"".join([block async for block in client.log("iris", deploy.number, follow=True)])
    assert b"iris/1 is live" in text


@pytest.mark.slow
async def test_a_follower_survives_a_restart_of_the_daemon(daemon: Desk) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = asyncio.Event()
    async with contextlib.AsyncExitStack() as first:
        url = await first.enter_async_context(daemon.listening())
        told: list[Unavailable] = []
        async with Client(url, away=told.append) as client, asyncio.timeout(30):
            deploy = await client.deploy("iris")
            text = bytearray()
            building = asyncio.Event()

            async def read_log() -> None:
                async for block in client.log("iris", deploy.number, follow=True):
                    text.extend(block)
                    if b"building" in text:
                        building.set()

            reading = asyncio.create_task(read_log())
            following = client.follow("iris", deploy.number)
            while (await anext(following)).status is not Status.BUILDING:
                pass
            await building.wait()
            await first.aclose()
            async with asyncio.timeout(20):
                while not told:  # noqa: ASYNC110 - until the client has tried
                    await asyncio.sleep(0.01)
            daemon.builder.held[A].set()
            async with daemon.listening():
                assert [now async for now in following][-1].status is Status.LIVE
                await reading
    assert text.count(b"==> fetch") == 1
    assert b"iris/1 is live" in text
