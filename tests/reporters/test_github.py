"""What GitHub shows of each deploy; every request is one that GitHub's own description allows."""

import asyncio
from datetime import UTC, datetime

import pytest
from msgspec import structs

from deployd.domain import Deploy, GateResult
from deployd.events import Events
from deployd.reporters.github import repository_on_github
from deployd.status import Status
from deployd.store.outbox import Check
from deployd.store.store import Store
from tests.reporters.conftest import send_all, sender_to
from tests.reporters.fake_github import FakeGitHub, Fault
from tests.reporters.given import running
from tests.store.given import SUCCESS, A, B, C, gone, live, queued, wanted


async def test_a_deployment_goes_from_queued_to_success(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        deploy = await queued(store, A)
        await send_all(sender)
        await gone(store, deploy, Status.BUILDING)
        await send_all(sender)
        await gone(store, deploy, *SUCCESS[1:])
        await send_all(sender)
    (number,) = hub.deployments
    made = hub.asked[0].body
    assert made == {
        "ref": A,
        "task": "deploy",
        "auto_merge": False,
        "required_contexts": [],
        "environment": "iris",
        "production_environment": True,
        "transient_environment": False,
        "description": "iris/1: Subject",
        "payload": {"deployd": {"instance": "here", "app": "iris", "number": 1}},
    }
    assert [one["state"] for one in reversed(hub.states[number])] == ["queued", "in_progress", "success"]
    newest = hub.states[number][0]
    assert newest["log_url"] == "https://deployd.example.com/apps/iris/deploys/1"
    assert newest["environment_url"] == "http://deployd.example.com:8000"
    assert newest["auto_inactive"] is False
    assert [one.method for one in hub.asked] == ["POST"] * 4


async def test_the_release_before_becomes_inactive(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        await send_all(sender)
        await live(store, B)
        await send_all(sender)
    assert hub.said() == ["iris: inactive", "iris: success"]


async def test_a_return_makes_the_release_before_active_again(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        deploy = await gone(store, await queued(store, B), *SUCCESS[:-1])
        deploy = await store.advance(deploy, Status.LIVE, watched=True)
        await send_all(sender)
        assert hub.said() == ["iris: inactive", "iris: success"]
        await store.record_return(deploy, "it crashed")
        await send_all(sender)
    assert hub.said() == ["iris: success", "iris: failure"]
    assert hub.states[102][0]["description"] == "iris/2 was reverted: it crashed"


@pytest.mark.parametrize(
    ("how", "state", "said"),
    [
        (Status.FAILED, "failure", "iris/1 failed: no such package"),
        (Status.CANCELLED, "inactive", "iris/1 was cancelled: no such package"),
    ],
)
async def test_no_deployment_is_left_in_progress(
    hub: FakeGitHub, store: Store, events: Events, how: Status, state: str, said: str
) -> None:
    async with sender_to(hub, store, events) as sender:
        deploy = await gone(store, await queued(store, A), Status.BUILDING)
        await send_all(sender)
        await gone(store, deploy, how, reason="no such package")
        await send_all(sender)
    assert [(one["state"], one["description"]) for one in hub.states[101][:1]] == [(state, said)]


async def test_a_superseded_deploy_names_the_one_that_came(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        deploy = await gone(store, await queued(store, A), Status.BUILDING)
        await send_all(sender)
        await store.advance(deploy, Status.SUPERSEDED, superseded_by=2, reason="a newer deploy came: iris/2")
        await send_all(sender)
    assert hub.states[101][0]["description"] == "iris/1 was superseded by iris/2"
    assert hub.states[101][0]["state"] == "inactive"


async def test_a_flood_of_pushes_is_told_of_the_newest_only(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        for commit in (A, B, C):
            await queued(store, commit)
        await store.take_newest("iris")
        await send_all(sender)
    assert [one["ref"] for one in hub.deployments.values()] == [C]


async def test_a_queued_one_that_was_told_and_is_superseded_gets_its_end(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events) as sender:
        await queued(store, A)
        await send_all(sender)
        await queued(store, B)
        await store.take_newest("iris")
        await send_all(sender)
    assert hub.said() == ["iris: inactive", "iris: queued"]


@pytest.mark.parametrize("how", ["deployments", "statuses"])
async def test_a_deploy_that_is_tried_again_and_again_is_told_once(
    hub: FakeGitHub, store: Store, events: Events, how: str
) -> None:
    async with sender_to(hub, store, events, how) as sender:
        deploy = await queued(store, A)
        for _ in range(3):
            await gone(store, deploy, Status.BUILDING)
            await send_all(sender)
            await gone(store, deploy, Status.QUEUED, reason="the engine does not answer; trying again in 5 s")
            await send_all(sender)
    said = [one["description"] for one in (hub.states[101] if hub.states else hub.statuses)]
    assert said == ["iris/1 is on its way"]


async def test_a_description_that_is_too_long_is_cut(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        deploy = await store.queue(wanted(A))
        await store.record_subject(deploy, "x" * 500, "ada")
        await gone(store, deploy, Status.FAILED, reason="é" * 300)
        deploy = await gone(store, await queued(store, B), Status.BUILDING)
        await gone(store, deploy, Status.FAILED, reason="é\n" * 300)
        await send_all(sender)
    assert len(hub.states[101][0]["description"]) == 140


async def test_the_environment_is_the_one_of_the_app(hub: FakeGitHub, store: Store, events: Events) -> None:
    app = {"github": {"environment": "staging", "production": False}}
    async with sender_to(hub, store, events, app=app) as sender:
        await live(store, A)
        await send_all(sender)
    (made,) = hub.deployments.values()
    assert (made["environment"], made["production_environment"]) == ("staging", False)


async def test_a_deployment_is_not_created_twice_when_its_answer_is_lost(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events) as sender:
        await gone(store, await queued(store, A), Status.BUILDING)
        hub.faults.append(Fault(200, after=True, cut=True))
        assert await send_all(sender)
        assert len(hub.deployments) == 1
        await send_all(sender)
    assert hub.said() == ["iris: in_progress"]


async def test_a_status_is_not_sent_twice_when_its_answer_is_lost(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events) as sender:
        deploy = await queued(store, A)
        await send_all(sender)
        await gone(store, deploy, *SUCCESS)
        hub.faults.append(Fault(502, after=True))
        assert await send_all(sender)
        await send_all(sender)
    assert [one["state"] for one in hub.states[101]] == ["success", "queued"]


async def test_a_rate_limit_holds_everything_up_for_as_long_as_it_says(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        hub.faults.append(Fault(429, "slow down", {"Retry-After": "17"}))
        assert await send_all(sender) == 17.0
        assert sender.trouble.startswith("GitHub's rate limit is reached: 429 to POST /repos/acme/iris/deployments")
        await send_all(sender)
        assert sender.trouble == ""
    assert hub.said() == ["iris: success"]


async def test_a_repository_that_is_refused_waits_for_a_person_and_is_told_once(
    hub: FakeGitHub, store: Store, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repositories.clear()
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        assert await send_all(sender) == pytest.approx(900, abs=5)
        await store.subscribe({"github": list(Status)})
        await send_all(sender)
        (said,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert said == (
            "github refuses the report of iris: GitHub answered 404 to POST /repos/acme/iris/deployments: Not Found (the token "
            "or the App must have access to this repository, with the rights that docs/github.md names); it waits until that "
            "is corrected"
        )
        hub.repositories.add("acme/iris")
        await store.subscribe({"github": list(Status)})
        await send_all(sender)
    assert hub.said() == ["iris: success"]


async def test_a_wrong_token_pauses_everything(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events, token="ghp_wrong") as sender:
        await live(store, A)
        assert await send_all(sender) == 900
        assert "401" in sender.trouble
        assert "ghp_" not in sender.trouble
    (unsent,) = await store.unsent_reports()
    assert unsent.since <= datetime.now(UTC)


async def test_a_report_that_github_will_never_take_is_given_up(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        hub.faults.append(Fault(422, "No ref found for: aaaa"))
        await send_all(sender)
    assert await store.unsent_reports() == []


async def test_a_redirect_within_the_host_is_followed_and_no_other(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        hub.faults.append(Fault(307, headers={"Location": f"{hub.url}/repos/acme/iris/deployments"}))
        await send_all(sender)
        assert hub.said() == ["iris: success"]
        await live(store, B)
        hub.faults.append(Fault(307, headers={"Location": "http://elsewhere.example.com/"}))
        assert await send_all(sender)
        assert "another host" in sender.trouble


async def test_statuses_of_the_commit(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events, "statuses") as sender:
        deploy = await gone(store, await queued(store, A), Status.BUILDING)
        await send_all(sender)
        await gone(store, deploy, *SUCCESS[1:])
        await send_all(sender)
        deploy = await gone(store, await queued(store, B), Status.BUILDING)
        await send_all(sender)
        await gone(store, deploy, Status.CANCELLED, reason="cancelled by hand by ada")
        await send_all(sender)
        await live(store, C)
        await send_all(sender)
    assert [(one["sha"][0], one["state"]) for one in reversed(hub.statuses)] == [
        ("a", "pending"),
        ("a", "success"),
        ("b", "pending"),
        ("b", "error"),
        ("c", "success"),
    ]
    assert hub.statuses[1] == {
        "sha": B,
        "state": "error",
        "context": "deployd/iris",
        "description": "iris/2 was cancelled: cancelled by hand by ada",
        "target_url": "https://deployd.example.com/apps/iris/deploys/2",
    }


async def test_only_the_newest_deploy_speaks_for_its_commit(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events, "statuses") as sender:
        first = await gone(store, await queued(store, A), Status.BUILDING)
        second = await store.queue(wanted(A, by_hand=True))
        await store.advance(first, Status.SUPERSEDED, superseded_by=2)
        await gone(store, second, Status.BUILDING)
        await send_all(sender)
    assert [(one["state"], one["description"]) for one in hub.statuses] == [("pending", "iris/2 is on its way")]


async def test_a_status_is_looked_for_before_it_is_set_again(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events, "statuses") as sender:
        await live(store, A)
        hub.faults.append(Fault(500, after=True))
        await send_all(sender)
        await send_all(sender)
    assert [one["state"] for one in hub.statuses] == ["success"]


async def _proving(store: Store) -> Deploy:
    deploy = await store.queue(structs.replace(wanted(A, by_hand=True), prove=True))
    return await gone(store, deploy, Status.BUILDING, Status.CHECKING)


async def _proof(store: Store) -> None:
    deploy = await _proving(store)
    gates = [
        GateResult(
            "golden", "failed", "3 of 5 differ | <script> @all", {"accuracy": 0.5}, ({"row": 1, "got": "é" * 90},) * 900
        )
    ]
    await store.record_gates(deploy, gates)
    await store.advance(deploy, Status.FAILED, reason="the golden gate refused it", hint="see the log")


async def test_a_proof_is_a_check_run_within_githubs_limits(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events, checks=True) as sender:
        await _proof(store)
        await send_all(sender)
    (run,) = hub.runs.values()
    assert (run["head_sha"], run["status"], run["conclusion"]) == (A, "completed", "failure")
    assert (run["name"], run["external_id"]) == ("deployd/iris", "here/iris/1")
    assert run["details_url"] == "https://deployd.example.com/apps/iris/deploys/1"
    assert run["output"]["title"] == "iris/1 failed: the golden gate refused it"
    text = run["output"]["text"]
    assert "| golden | **failed** | 3 of 5 differ \\| \\<script\\> \\@all |" in text
    assert text.endswith("[the whole report](https://deployd.example.com/apps/iris/deploys/1)")
    assert 65_000 < len(text.encode()) <= 65_535


@pytest.mark.parametrize(
    ("end", "conclusion", "state"),
    [
        (Status.PROVEN, "success", "success"),
        (Status.CANCELLED, "cancelled", "error"),
        (Status.SUPERSEDED, "cancelled", "error"),
    ],
)
async def test_every_end_of_a_proof_is_told(
    hub: FakeGitHub, store: Store, events: Events, end: Status, conclusion: str, state: str
) -> None:
    async with sender_to(hub, store, events, checks=True) as sender:
        deploy = await _proving(store)
        await send_all(sender)
        (run,) = hub.runs.values()
        assert (run["status"], "conclusion" in hub.written[0].body) == ("in_progress", False)
        await store.advance(deploy, end)
        await send_all(sender)
        assert (run["status"], run["conclusion"]) == ("completed", conclusion)
    async with sender_to(hub, store, events) as sender:
        await store.advance(await _proving(store), end)
        await send_all(sender)
    assert [one["state"] for one in hub.statuses] == [state]


async def test_a_check_run_is_begun_changed_and_never_created_twice(
    hub: FakeGitHub, store: Store, events: Events
) -> None:
    async with sender_to(hub, store, events, checks=True) as sender:
        for title, conclusion, fault in (("waits", "", Fault(502, after=True)), ("done", "success", None)):
            check = Check(A, "deployd/iris", "one", title, "summary", conclusion=conclusion)
            hub.faults += [fault] if fault else []
            await store.owe_check("github", "iris", check)
            await send_all(sender)
    (run,) = hub.runs.values()
    assert (run["status"], run["conclusion"], run["output"]["title"]) == ("completed", "success", "done")


async def test_without_an_app_a_proof_is_a_commit_status(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        await _proof(store)
        await send_all(sender)
    assert [(one["context"], one["state"]) for one in hub.statuses] == [("deployd/iris/prove", "failure")]


async def test_an_app_elsewhere_is_not_told_to_github(hub: FakeGitHub, store: Store, events: Events) -> None:
    app = {"repo": "https://gitlab.example.com/acme/iris.git"}
    async with sender_to(hub, store, events, app=app) as sender:
        await live(store, A)
        await send_all(sender)
    assert hub.asked == []
    assert await store.unsent_reports() == []


@pytest.mark.parametrize("how", ["deployments", "statuses"])
async def test_an_app_that_leaves_the_config_and_is_removed_gets_its_end(
    hub: FakeGitHub, store: Store, events: Events, how: str
) -> None:
    async with sender_to(hub, store, events, how) as sender:
        await gone(store, await queued(store, A), Status.BUILDING)
        await send_all(sender)
    async with sender_to(hub, store, events, how, app={"name": "rose"}) as sender:
        await store.forget_app("iris")
        await send_all(sender)
    said = hub.states[101] if hub.states else hub.statuses
    assert [one["description"] for one in said[:1]] == ["iris/1 was cancelled: the app was removed"]


@pytest.mark.parametrize(
    ("api_url", "repo", "found"),
    [
        ("https://api.github.com", "git@github.com:Acme/Iris.git", "acme/iris"),
        ("https://git.example.com/api/v3", "https://git.example.com/acme/iris", "acme/iris"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com/acme/iris", "acme/iris"),
        ("https://api.github.com", "https://git.example.com/acme/iris", None),
        ("https://api.github.com", "https://github.com/acme/group/iris", None),
    ],
)
def test_the_repository_on_the_configured_github(api_url: str, repo: str, found: str | None) -> None:
    config = running(api_url, app={"repo": repo}).config
    assert repository_on_github(config, config.app[0]) == found


async def test_the_sender_wakes_for_each_change(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        serving = asyncio.create_task(sender.serve())
        await live(store, A)
        await hub.until("iris: success")
        await live(store, B)
        await hub.until("iris: inactive", "iris: success")
        serving.cancel()
        await asyncio.wait({serving})


async def test_a_killed_daemon_sends_after_its_next_start(hub: FakeGitHub, store: Store, events: Events) -> None:
    async with sender_to(hub, store, events) as sender:
        await live(store, A)
        serving = asyncio.create_task(sender.serve())
        await hub.changed.wait()
        serving.cancel()
        await asyncio.wait({serving})
    async with sender_to(hub, store, events) as again:
        await send_all(again)
    assert hub.said() == ["iris: success"]
