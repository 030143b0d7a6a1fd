"""The outcomes of deliveries, over HTTP."""

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from deployd.delivery import Delivery, Followed, Push
from deployd.status import Status
from tests.api.pushes import answered, pushed, told, troubled
from tests.desk import MAIN, REPO, A, B, Desk, desk, settings

DELIVERIES = "/api/v1/deliveries"


async def test_a_delivery_shows_its_commit_and_the_deploys_that_it_caused(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await pushed(daemon, A, "g", "iris", "rose")
    received = await answered(daemon)
    told = (await browser.get(f"{DELIVERIES}/g")).json()
    looked_at = [
        outcome.looked_at.isoformat().replace("+00:00", "Z") for outcome in received.outcomes if outcome.looked_at
    ]
    named = {"ref": MAIN, "named": A}
    assert told == {
        "id": received.id,
        "guid": "g",
        "forge": "github",
        "event": "push",
        "received_at": received.received_at.isoformat().replace("+00:00", "Z"),
        "repository": "example.com/acme/iris",
        "ref": MAIN,
        "commit": A,
        "apps": [
            {"app": "iris", "looked_at": looked_at[0], "commit": A, "deploy": 1, "reason": ""} | named,
            {"app": "rose", "looked_at": looked_at[1], "commit": A, "deploy": 1, "reason": ""} | named,
        ],
    }
    assert (await daemon.becomes("iris", 1, Status.LIVE)).trigger.delivery == "g"


async def test_a_delivery_of_several_refs_shows_all_its_apps_each_with_what_it_named_for_it(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.source.ancestors[A] = {B}
    repository, dev = "example.com/acme/iris", "refs/heads/dev"
    followed = [Followed(Push(repository, dev, B), ("rose",)), Followed(Push(repository, MAIN, A), ("iris",))]
    assert await daemon.scheduler.accept(Delivery("bitbucket", "g", "push"), followed) == ["rose", "iris"]
    await answered(daemon)
    told = (await browser.get(f"{DELIVERIES}/g")).json()
    assert (told["ref"], told["commit"]) == (dev, B)
    assert [(one["app"], one["ref"], one["named"], one["deploy"]) for one in told["apps"]] == [
        ("rose", dev, B, 1),
        ("iris", MAIN, A, 1),
    ]


async def test_a_delivery_of_a_skipped_head_shows_the_reason(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.messages[A] = "Fix a typo [skip ci]"
    await pushed(daemon, A)
    await answered(daemon)
    (iris,) = (await browser.get(f"{DELIVERIES}/g")).json()["apps"]
    assert (iris["deploy"], iris["commit"], iris["reason"]) == (None, A, "the commit's message says [skip ci]")


async def test_a_late_delivery_shows_the_head_that_was_found_instead(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.ancestors[B] = {A}
    await pushed(daemon, B, "newer")
    await answered(daemon, "newer")
    await told(daemon, A, "late")
    await answered(daemon, "late")
    (iris,) = (await browser.get(f"{DELIVERIES}/late")).json()["apps"]
    assert (iris["deploy"], iris["commit"], iris["reason"]) == (1, B, "")


@pytest.mark.slow
async def test_a_delivery_whose_remote_is_unavailable_shows_that_a_look_is_owed_and_why(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    daemon.source.away = True
    await pushed(daemon, A)
    async with asyncio.timeout(20):
        await troubled(daemon)
    (iris,) = (await browser.get(f"{DELIVERIES}/g")).json()["apps"]
    assert (iris["looked_at"], iris["deploy"]) == (None, None)
    assert iris["reason"] == f"the remote has still to be asked: {REPO} is away"


async def test_a_look_that_was_not_tried_yet_is_owed_without_a_reason(daemon: Desk, browser: httpx.AsyncClient) -> None:
    hanging = asyncio.Event()
    daemon.source.heads = lambda _: hanging.wait()  # type: ignore[assignment,method-assign,return-value]
    await told(daemon, A)
    (iris,) = (await browser.get(f"{DELIVERIES}/g")).json()["apps"]
    assert iris["reason"] == "the remote has still to be asked"


async def test_deliveries_come_in_pages_newest_first(daemon: Desk, browser: httpx.AsyncClient) -> None:
    for guid in ("1", "2", "3"):
        await told(daemon, A, guid)
    page = (await browser.get(f"{DELIVERIES}?limit=2")).json()
    assert [one["guid"] for one in page["deliveries"]] == ["3", "2"]
    page = (await browser.get(f"{DELIVERIES}?limit=2&before={page['before']}")).json()
    assert ([one["guid"] for one in page["deliveries"]], page["before"]) == (["1"], None)


async def test_a_delivery_that_was_not_accepted_is_answered_404_with_a_hint(browser: httpx.AsyncClient) -> None:
    answer = await browser.get(f"{DELIVERIES}/nope")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "there is no delivery nope"
    assert "the forge's own list" in answer.json()["hint"]


@pytest.mark.parametrize("path", ["?limit=0", "?limit=501", "?before=0", f"/{'g' * 201}"])
async def test_a_malformed_question_for_a_delivery_is_refused(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(f"{DELIVERIES}{path}")).status_code == 422


async def test_deliveries_need_the_role_read(tmp_path: Path) -> None:
    tokens = [{"name": "ci", "role": "read", "sha256": hashlib.sha256(b"secret").hexdigest()}]
    async with desk(tmp_path, settings(auth={"tokens": tokens})) as daemon:
        for path in (DELIVERIES, f"{DELIVERIES}/g"):
            async with daemon.browser("127.0.0.1") as stranger:
                assert (await stranger.get(path)).status_code == 401
            async with daemon.browser("127.0.0.1", Authorization="Bearer secret") as reader:
                assert (await reader.get(path)).status_code in {200, 404}


async def test_a_delivery_whose_head_waits_for_its_checks_shows_what_for_and_so_does_the_app(tmp_path: Path) -> None:
    strict = settings(github={"token": "env:T", "api_url": "https://example.com/api/v3"})
    strict["app"][0]["require"] = "checks"
    async with desk(tmp_path, strict) as daemon, daemon.browser() as browser:
        daemon.checks.red[A] = "test is not finished"
        await pushed(daemon, A)
        while await daemon.checks.asked.get() != A:
            continue
        watch = daemon.events.watch(after=0)
        while daemon.scheduler.looks.waiting("iris") is None:
            await anext(watch)
        (outcome,) = (await browser.get(f"{DELIVERIES}/g")).json()["apps"]
        reason = f"{A[:12]} waits for its checks: test is not finished"
        assert (outcome["looked_at"], outcome["deploy"], outcome["reason"]) == (None, None, reason)
        app = (await browser.get("/api/v1/apps/iris")).json()
        assert (app["waiting"]["commit"], app["waiting"]["reason"]) == (A, "test is not finished")
        assert app["owed"] is None
