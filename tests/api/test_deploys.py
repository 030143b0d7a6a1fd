"""Apps and deploys over HTTP."""

import asyncio
import os
import pwd
from pathlib import Path

import httpx
import pytest

from deployd.domain import Health
from deployd.errors import RolloutFailed, Unavailable
from deployd.status import Status
from tests.api.pushes import pushed, troubled
from tests.desk import JSON, MAIN, REPO, A, B, Desk, config_of, desk, settings

APP = "/api/v1/apps/iris"


async def test_an_app_shows_its_live_release_and_its_urls(daemon: Desk, browser: httpx.AsyncClient) -> None:
    deploy = await daemon.deployed(A)
    assert await compared(daemon, 1) == Health()
    answer = (await browser.get(APP)).json()
    assert deploy.live_at is not None
    assert answer == {
        "name": "iris",
        "configured": True,
        "target": "docker",
        "repo": REPO,
        "branch": "main",
        "tag": None,
        "paused": False,
        "paused_by": None,
        "paused_at": None,
        "held": None,
        "owed": None,
        "waiting": None,
        "live": {
            "number": 1,
            "commit": A,
            "image": deploy.image and deploy.image.full_name,
            "bases": [{"name": "python:3.12", "digest": "sha256:1"}],
            "since": deploy.live_at.isoformat().replace("+00:00", "Z"),
            "model": {},
            "registered": None,
        },
        "older_config": False,
        "health": {"state": "ok", "detail": "", "since": None},
        "watched": None,
        "failed": None,
        "in_flight": None,
        "queued": 0,
        "traffic": None,
        "urls": ["http://127.0.0.1:8000"],
        "acts": [],
    }


async def test_a_commit_is_proven_over_http_and_its_report_is_markdown(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    daemon.source.remotes[REPO]["refs/heads/next"] = B
    asked = await browser.post(f"{APP}/deploys", json={"commit": "next", "prove": True})
    assert (asked.status_code, asked.json()["prove"], asked.json()["status"]) == (202, True, "queued")
    await daemon.becomes("iris", 2, Status.PROVEN)
    told = (await browser.get(f"{APP}/deploys/2")).json()
    assert (told["status"], told["prove"], told["live_at"], told["image_size"]) == ("proven", True, None, 10)
    assert (await browser.get(APP)).json()["live"]["number"] == 1
    page = await browser.get(f"{APP}/deploys/2/report")
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text.startswith("# iris/2: proven\n")
    assert "| Served before | iris/1, " in page.text
    assert (await browser.get(f"{APP}/deploys/9/report")).status_code == 404


async def compared(daemon: Desk, number: int, state: str = "ok") -> Health:
    """How the live release of iris is, once it was found to be in that state."""
    async with asyncio.timeout(20):
        while True:
            health = daemon.scheduler.lanes.health("iris", number)
            if health is not None and health.state == state:
                return health
            await asyncio.sleep(0.01)


async def test_a_watched_app_says_until_when_and_after_a_return_why(tmp_path: Path) -> None:
    data = settings()
    data["app"][0]["watch"] = {"for": "1h"}
    async with desk(tmp_path, data) as daemon, daemon.browser() as browser:
        await daemon.deployed(A)
        assert (await browser.get(APP)).json()["watched"] is None
        second = await daemon.deployed(B)
        watched = None
        async with asyncio.timeout(20):
            while watched is None:
                await anext(daemon.events.watch(after=daemon.events.latest - 1))
                watched = (await browser.get(APP)).json()["watched"]
        assert watched["standby"] == 1
        daemon.target.ended.add("iris")
        assert daemon.target.changed is not None
        daemon.target.changed("iris")
        await daemon.becomes("iris", second.number, Status.REVERTED)
        await daemon.becomes("iris", 1, Status.LIVE)
        answer = (await browser.get(APP)).json()
    assert answer["watched"] is None
    assert answer["live"]["number"] == 1
    assert answer["failed"] == {
        "number": 2,
        "commit": B,
        "reason": "its pod exited with code 1",
        "hint": "",
        "reverted": True,
    }


async def test_an_app_tells_that_its_release_does_not_serve_and_why(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await compared(daemon, 1)
    daemon.target.broken = RolloutFailed("the image of iris/1 is no longer on the engine")
    daemon.target.live.clear()
    assert daemon.target.changed is not None
    daemon.target.changed("iris")
    await compared(daemon, 1, "down")
    told = (await browser.get(APP)).json()["health"]
    assert (told["state"], told["since"] is not None) == ("down", True)
    assert told["detail"].startswith("its container was removed")
    ready = await browser.get("/readyz")
    assert (ready.status_code, ready.json()["apps"][:46]) == (
        200,
        "warning: unhealthy: iris (its container was re",
    )
    assert f'deployd_live_info{{app="iris",commit="{A}"}} 0.0' in (await browser.get("/metrics")).text
    assert ">down<" in (await browser.get("/apps/iris/badge.svg")).text


async def test_an_engine_that_is_away_leaves_nothing_well(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await compared(daemon, 1)
    daemon.target.away = Unavailable("the engine does not answer")
    assert daemon.target.changed is not None
    daemon.target.changed(None)
    await compared(daemon, 1, "unknown")
    told = (await browser.get(APP)).json()["health"]
    assert (told["state"], told["detail"]) == ("unknown", "the engine does not answer")
    daemon.target.away = None
    daemon.target.changed(None)
    await compared(daemon, 1)
    assert "apps" not in (await browser.get("/readyz")).json()


async def test_an_app_tells_that_its_newest_deploy_failed(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.builder.broken.add(A)
    daemon.source.remotes[REPO][MAIN] = A
    await browser.post(f"{APP}/deploys")
    await daemon.becomes("iris", 1, Status.FAILED)
    told = (await browser.get(APP)).json()["failed"]
    assert (told["number"], told["commit"], told["reason"]) == (1, A, "the command returned 1")
    daemon.source.remotes[REPO][MAIN] = B
    await daemon.deployed(B)
    assert (await browser.get(APP)).json()["failed"] is None


async def test_all_apps_are_listed_in_the_order_of_the_config(browser: httpx.AsyncClient) -> None:
    assert [app["name"] for app in (await browser.get("/api/v1/apps")).json()["apps"]] == ["iris", "rose"]


async def test_a_deploy_by_hand_is_shown_with_its_steps(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    accepted, account = await browser.post(f"{APP}/deploys"), pwd.getpwuid(os.getuid()).pw_name
    assert accepted.status_code == 202
    assert (accepted.json()["status"], accepted.json()["trigger"]["by"]) == ("queued", account)
    await daemon.becomes("iris", 1, Status.LIVE)
    told = (await browser.get(f"{APP}/deploys/1")).json()
    assert (told["commit"], told["ref"], told["status"]) == (A, MAIN, "live")
    assert (told["subject"], told["author"]) == ("Subject of aaaaaaa", "Ada")
    assert [step["name"] for step in told["steps"]][:4] == ["fetch", "build", "candidate", "cut-over"]
    assert all(step["finished_at"].endswith("Z") for step in told["steps"][:3])
    assert told["image"].startswith(f"deployd/test/iris:{A}-")
    assert (told["digest"], told["bases"]) == (None, [{"name": "python:3.12", "digest": "sha256:1"}])


async def test_a_rebuild_builds_the_same_commit_anew(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    accepted = await browser.post(f"{APP}/deploys", json={"commit": A, "rebuild": True})
    assert accepted.json()["rebuild"] is True
    await daemon.becomes("iris", 2, Status.LIVE)
    assert [(one.fresh, one.pull) for one in daemon.builder.requests] == [(False, False), (True, True)]
    diff = (await browser.get(f"{APP}/diff?before=1&after=2")).json()["differences"]
    assert {"what": "base python:3.12", "before": "sha256:1", "after": "sha256:2"} in diff


async def test_a_branch_can_be_deployed_by_name(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO]["refs/heads/next"] = B
    assert (await browser.post(f"{APP}/deploys", json={"commit": "next"})).json()["commit"] == B


async def test_a_malformed_commit_name_is_refused(browser: httpx.AsyncClient) -> None:
    for name in ("--upload-pack=x", "", "two words", "a\x00b", "a" * 300):
        answer = await browser.post(f"{APP}/deploys", json={"commit": name})
        assert (answer.status_code, answer.json()["detail"].startswith("commit: ")) == (422, True), name


async def test_a_failed_deploy_shows_its_reason(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.broken.add(A)
    await browser.post(f"{APP}/deploys")
    await daemon.becomes("iris", 1, Status.FAILED)
    told = (await browser.get(f"{APP}/deploys/1")).json()
    assert told["reason"] == "the command returned 1"
    assert "torhc" in told["hint"]


async def test_history_comes_in_pages(daemon: Desk, browser: httpx.AsyncClient) -> None:
    for commit in (A, B, A):
        await daemon.deployed(commit)
    page = (await browser.get(f"{APP}/deploys?limit=2")).json()
    assert ([deploy["number"] for deploy in page["deploys"]], page["before"]) == ([3, 2], 2)
    page = (await browser.get(f"{APP}/deploys?limit=2&before=2")).json()
    assert ([deploy["number"] for deploy in page["deploys"]], page["before"]) == ([1], None)


async def test_a_rollback_goes_to_the_previous_release(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await daemon.deployed(B)
    answer = await browser.post(f"{APP}/rollback")
    assert (answer.status_code, answer.json()["commit"], answer.json()["rollback_to"]) == (202, A, 1)
    await daemon.becomes("iris", 3, Status.LIVE)


async def test_a_rollback_without_a_release_to_go_to_is_answered_409_with_a_hint(browser: httpx.AsyncClient) -> None:
    answer = await browser.post(f"{APP}/rollback", json={"to": 9})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "iris/9 was never live",
        "hint": "deployd history iris shows the deploys",
    }


async def test_deploys_of_a_paused_app_stay_queued_and_can_be_cancelled(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    assert (await browser.post(f"{APP}/pause")).json()["paused"] is True
    await browser.post(f"{APP}/deploys")
    assert (await browser.get(APP)).json()["queued"] == 1
    assert (await browser.post(f"{APP}/deploys/1/cancel")).json()["status"] == "cancelled"
    assert (await browser.post(f"{APP}/deploys/1/cancel")).status_code == 409
    assert (await browser.post(f"{APP}/resume")).json()["paused"] is False


async def test_the_deploy_in_flight_is_shown_and_can_be_cancelled(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = daemon.services.stopping
    await browser.post(f"{APP}/deploys")
    await daemon.becomes("iris", 1, Status.BUILDING)
    assert (await browser.get(APP)).json()["in_flight"]["number"] == 1
    assert (await browser.post(f"{APP}/deploys/1/cancel")).status_code == 202
    assert (
        await daemon.becomes("iris", 1, Status.CANCELLED)
    ).reason == f"cancelled by hand by {pwd.getpwuid(os.getuid()).pw_name}"


async def test_a_target_that_cannot_scale_refuses(daemon: Desk, browser: httpx.AsyncClient) -> None:
    assert (await browser.post(f"{APP}/scale", json={"replicas": 3})).status_code == 409
    daemon.target.replicas = 1
    assert (await browser.post(f"{APP}/scale", json={"replicas": 3})).status_code == 200
    assert daemon.target.replicas == 3
    me = pwd.getpwuid(os.getuid()).pw_name
    (act,) = (await browser.get(APP)).json()["acts"]
    assert (act["by"], act["done"], act["detail"]) == (me, "scaled", "3")


async def test_describe_shows_the_running_containers(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    answer = (await browser.get(f"{APP}/describe")).json()
    assert (answer["app"]["live"]["number"], answer["running"]) == (1, {"container": "deployd-iris-1"})


async def test_a_plan_lists_the_steps_of_a_deploy(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    daemon.source.remotes[REPO][MAIN] = B
    plan = (await browser.get(f"{APP}/plan?commit=main")).json()
    assert (plan["commit"], plan["head"], plan["known"], plan["image"]) == (B, B, None, None)
    assert f"switch from iris/1 ({A[:12]}) to it" in plan["steps"]
    await daemon.deployed(B)
    plan = (await browser.get(f"{APP}/plan?commit={B}")).json()
    assert plan["known"]["number"] == 2
    assert plan["image"].startswith(f"deployd/test/iris:{B}-")
    assert (await browser.get(f"{APP}/plan?commit=nowhere")).status_code == 404


@pytest.mark.parametrize(
    ("touched", "words"),
    [
        (frozenset({"docs/x.md"}), "it is the head, and would be skipped: no file under paths changed (src/)"),
        (frozenset({"docs/x.md", "src/model.py"}), "it is the head, and would be deployed"),
        (None, "it is the head, and would be deployed"),
    ],
)
async def test_a_plan_shows_the_decision_that_a_look_would_make(
    tmp_path: Path, touched: frozenset[str] | None, words: str
) -> None:
    data = settings()
    data["app"][0]["paths"] = ["src/"]
    async with desk(tmp_path, data) as daemon, daemon.browser() as client:
        await pushed(daemon, A)
        await daemon.becomes("iris", 1, Status.LIVE)
        daemon.source.touched = touched
        daemon.source.remotes[REPO][MAIN] = B
        assert (await client.get(f"{APP}/plan?commit=main")).json()["steps"][0] == words


async def test_a_plan_shows_that_a_skip_mark_would_skip_the_commit(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO]["refs/heads/next"] = B
    daemon.source.messages[B] = "Docs [no ci]"
    first, *_ = (await browser.get(f"{APP}/plan?commit=next")).json()["steps"]
    assert first == "if it were the head, it would be skipped: the commit's message says [no ci]"


@pytest.mark.slow
async def test_a_held_app_shows_the_commit_that_is_not_deployed_and_why(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await pushed(daemon, A)
    await daemon.becomes("iris", 1, Status.LIVE)
    daemon.builder.broken.add(B)
    await pushed(daemon, B, "2")
    await daemon.becomes("iris", 2, Status.FAILED)
    assert (await browser.get(APP)).json()["held"] == {
        "commit": B,
        "registered": None,
        "reason": "iris/2 failed: the command returned 1",
    }


@pytest.mark.slow
async def test_an_app_whose_remote_is_unavailable_shows_since_when_a_look_is_owed_and_why(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    daemon.source.away = True
    await pushed(daemon, A)
    async with asyncio.timeout(20):
        await troubled(daemon)
    received = await daemon.store.delivery("g")
    assert received is not None
    since = received.received_at.isoformat().replace("+00:00", "Z")
    assert (await browser.get(APP)).json()["owed"] == {"since": since, "reason": f"{REPO} is away", "what": "remote"}
    rose = (await browser.get("/api/v1/apps/rose")).json()["owed"]  # no delivery, but no look either
    assert rose["reason"] == f"{REPO} is away"


async def test_two_deploys_are_compared(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await daemon.deployed(B)
    answer = (await browser.get(f"{APP}/diff?before=1&after=2")).json()
    assert (answer["before"]["number"], answer["after"]["number"]) == (1, 2)
    assert {"what": "commit", "before": A, "after": B} in answer["differences"]
    assert {"what": "status", "before": "retired", "after": "live"} in answer["differences"]


async def test_an_app_can_be_removed_after_it_left_the_config(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    assert (await browser.delete(APP)).status_code == 409
    daemon.next_config = config_of(settings("rose"))
    assert (await browser.post("/api/v1/reload")).json()["apps"] == ["rose"]
    shown = (await browser.get("/api/v1/apps")).json()["apps"]
    assert [(app["name"], app["configured"]) for app in shown] == [("rose", True), ("iris", False)]
    assert (await browser.delete(APP)).status_code == 204
    assert daemon.target.removed == ["iris"]
    assert [app["name"] for app in (await browser.get("/api/v1/apps")).json()["apps"]] == ["rose"]
    assert (await browser.get(f"{APP}/deploys")).json()["deploys"][0]["number"] == 1


async def test_an_unknown_app_or_deploy_is_answered_404(browser: httpx.AsyncClient) -> None:
    for path in ("nope", "nope/deploys", "iris/deploys/1", "iris/deploys/1/log", "nope/log", "nope/describe"):
        answer = await browser.get(f"/api/v1/apps/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    assert (await browser.post("/api/v1/apps/nope/deploys", headers=JSON)).status_code == 404
