"""The doors of all forges as one sees them from outside: one path each, one answer to each kind of delivery."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.types import Receive, Scope, Send

from deployd.api.doors import Doors
from deployd.delivery import Delivery, Followed, Push
from deployd.errors import ConfigError
from deployd.forges.configured import FORGES
from tests.deliveries import AFTER, GUID, SECRET, ZEROS, a_push, an_app, headers_of, proven, raw_of
from tests.forges.payloads import (
    SIGNING_TOKEN,
    bitbucket_headers,
    cloud_change,
    cloud_push,
    data_center_change,
    data_center_push,
    gitea_headers,
    gitea_push,
    gitlab_headers,
    gitlab_push,
    gitlab_signed,
    mlflow_headers,
    mlflow_moved,
)

Headers = dict[str, str]
MODEL = {"registry": "https://mlflow.example.com", "name": "iris", "alias": "champion"}
SECRETS = {forge.name: [SECRET] for forge in FORGES} | {"gitlab": [SECRET, SIGNING_TOKEN]}
APPS = (
    an_app(),
    an_app("lab", repo="https://gitlab.example.com/acme/ml/iris.git"),
    an_app("lab-ssh", repo="git@ssh.example.com:acme/ml/iris.git", tag="v*"),
    an_app("tea", repo="ssh://git@ssh.example.com:2222/acme/iris.git"),
    an_app("tea-dev", repo="https://git.example.com/acme/iris.git", branch="dev"),
    an_app("cloud", repo="https://bitbucket.org/acme/iris.git"),
    an_app("cloud-tags", repo="git@bitbucket.org:acme/iris.git", tag="v*"),
    an_app("center", repo="https://bitbucket.example.com/scm/ACME/iris.git"),
    an_app("scored", repo="https://git.example.com/acme/scored.git", model=MODEL),
    an_app("center-ssh", repo="ssh://git@bitbucket.example.com:7999/acme/iris.git", branch="dev"),
)


class Sent(NamedTuple):
    """One genuine kind of delivery: where to, what, with which headers, and the app that follows it."""

    path: str
    body: Any
    headers: Callable[[bytes], Headers]
    app: str


PUSHES = {
    "github": Sent("github", a_push(), headers_of, "iris"),
    "gitlab": Sent("gitlab", gitlab_push(), lambda _: gitlab_headers(), "lab"),
    "gitlab signed": Sent("gitlab", gitlab_push(), lambda raw: gitlab_signed(raw, at=time.time()), "lab"),
    "gitlab tag": Sent("gitlab", gitlab_push("refs/tags/v1"), lambda _: gitlab_headers("Tag Push Hook"), "lab-ssh"),
    "gitea": Sent("gitea", gitea_push(), gitea_headers, "tea"),
    "forgejo": Sent("forgejo", gitea_push(), lambda raw: gitea_headers(raw, forgejo=True), "tea"),
    "cloud": Sent("bitbucket", cloud_push(), bitbucket_headers, "cloud"),
    "center": Sent("bitbucket", data_center_push(), lambda raw: bitbucket_headers(raw, "repo:refs_changed"), "center"),
}


class Caller:
    """An HTTP client of all doors, and what they took."""

    def __init__(self) -> None:
        self.taken: list[tuple[Delivery, Sequence[Followed]]] = []
        self.registry = CollectorRegistry()
        counter = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=self.registry)
        self.doors = Doors(SECRETS, self.accept, counter, propose=proven, apps=APPS, max_body=1024 * 1024)
        transport = httpx.ASGITransport(self.route)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://deployd.example.com")

    async def accept(self, delivery: Delivery, followed: Sequence[Followed]) -> Sequence[str]:
        self.taken.append((delivery, followed))
        return [name for one in followed for name in one.apps]

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.doors.by_path[scope["path"]](scope, receive, send)

    async def post(self, path: str, body: Any, headers: Callable[[bytes], Headers], **more: str) -> httpx.Response:
        raw = body if isinstance(body, bytes) else raw_of(body)
        return await self.client.post(f"/webhooks/{path}", content=raw, headers=headers(raw) | more)

    def count(self, forge: str, outcome: str) -> float:
        return self.registry.get_sample_value("deliveries_total", {"forge": forge, "outcome": outcome}) or 0.0


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    found = Caller()
    async with found.client:
        yield found


async def test_an_alias_that_has_moved_owes_a_look_for_the_apps_that_take_it(caller: Caller) -> None:
    answer = await caller.post("mlflow", mlflow_moved(), mlflow_headers)
    assert (answer.status_code, answer.json()["apps"]) == (202, ["scored"])
    ((delivery, followed),) = caller.taken
    assert (delivery.forge, followed) == ("mlflow", [Followed(Push("iris", "@champion", ""), ("scored",))])
    assert caller.count("mlflow", "accepted") == 1


async def test_another_alias_and_another_event_of_mlflow_owe_nothing(caller: Caller) -> None:
    other = await caller.post("mlflow", mlflow_moved(alias="challenger"), mlflow_headers)
    assert other.json() == {"ignored": "no app takes iris@challenger"}
    event = await caller.post("mlflow", mlflow_moved() | {"entity": "model_version"}, mlflow_headers)
    assert event.json() == {"ignored": "event model_version.created does not deploy"}
    assert caller.taken == []


async def test_an_unsigned_delivery_of_mlflow_is_refused(caller: Caller) -> None:
    answer = await caller.post("mlflow", mlflow_moved(), lambda _: {"Content-Type": "application/json"})
    assert answer.status_code == 401
    assert "[mlflow]" in answer.json()["hint"]


def test_every_forge_has_its_paths(caller: Caller) -> None:
    assert set(caller.doors.by_path) == {
        *("/webhooks/github", "/github_webhook", "/github-webhook"),
        *("/webhooks/gitlab", "/webhooks/gitea", "/webhooks/forgejo", "/webhooks/bitbucket"),
        "/webhooks/mlflow",
    }


@pytest.mark.parametrize("kind", PUSHES)
async def test_a_push_is_accepted_for_the_app_that_follows_its_ref(caller: Caller, kind: str) -> None:
    sent = PUSHES[kind]
    answer = await caller.post(sent.path, sent.body, sent.headers)
    assert (answer.status_code, answer.json()) == (202, {"delivery": GUID, "apps": [sent.app]})
    [(delivery, [followed])] = caller.taken
    assert (delivery.guid, followed.push.commit) == (GUID, AFTER)
    assert caller.count(delivery.forge, "accepted") == 1


@pytest.mark.parametrize("kind", PUSHES)
async def test_a_push_that_nobody_vouches_for_is_refused_with_the_same_answer(caller: Caller, kind: str) -> None:
    sent = PUSHES[kind]
    caller.doors.trust({forge.name: ["another secret"] for forge in FORGES})
    wrong = await caller.post(sent.path, sent.body, sent.headers)
    nothing = await caller.post(sent.path, b"{", lambda _: {"Content-Type": "application/json"})
    assert (wrong.status_code, nothing.status_code, wrong.content) == (401, 401, nothing.content)
    assert caller.taken == []
    caller.doors.trust({forge.name: [] for forge in FORGES})
    assert (await caller.post(sent.path, sent.body, sent.headers)).status_code == 401


@pytest.mark.parametrize("kind", PUSHES)
async def test_a_push_of_another_repository_is_ignored_with_the_reason(caller: Caller, kind: str) -> None:
    sent = PUSHES[kind]
    caller.doors.follow([])
    answer = await caller.post(sent.path, sent.body, sent.headers)
    assert answer.status_code == 200
    assert answer.json()["ignored"].startswith("no app is configured for ")


async def test_the_delivery_of_one_forge_is_not_taken_at_the_door_of_another(caller: Caller) -> None:
    for sent in PUSHES.values():
        for path in {one.path for one in PUSHES.values()} - {
            sent.path,
            "gitea" if sent.path == "forgejo" else "forgejo",
        }:
            answer = await caller.post(path, sent.body, sent.headers)
            assert answer.status_code in {400, 401}, (sent, path)
    assert caller.taken == []


async def test_the_connection_test_of_data_center_is_answered(caller: Caller) -> None:
    answer = await caller.post(
        "bitbucket", {"test": True}, lambda raw: bitbucket_headers(raw, "diagnostics:ping", secret=None)
    )
    assert (answer.status_code, answer.json()) == (200, {"pong": True})
    assert caller.count("bitbucket", "ping") == 1


async def test_a_delivery_of_many_refs_is_stored_in_one_call_with_each_ref_that_is_followed(caller: Caller) -> None:
    changes = (
        cloud_change("gone", now=None),
        cloud_change("other"),
        cloud_change("v2", "tag", was=None),
        cloud_change("main"),
        cloud_change("v1", "tag", was=None),
    )
    answer = await caller.post("bitbucket", cloud_push(*changes), bitbucket_headers)
    assert (answer.status_code, answer.json()) == (202, {"delivery": GUID, "apps": ["cloud-tags", "cloud"]})
    [(delivery, followed)] = caller.taken
    assert delivery.guid == GUID
    assert [(one.push.ref, one.apps) for one in followed] == [
        ("refs/tags/v2", ("cloud-tags",)),
        ("refs/heads/main", ("cloud",)),
    ]
    assert caller.count("bitbucket", "accepted") == 1


async def test_a_ref_that_is_there_counts_before_one_that_was_deleted(caller: Caller) -> None:
    gone, there = data_center_change("refs/heads/dev", ZEROS), data_center_change("refs/heads/dev")
    body = data_center_push(gone, there)
    await caller.post("bitbucket", body, lambda raw: bitbucket_headers(raw, "repo:refs_changed"))
    [(_, followed)] = caller.taken
    assert [(one.push.commit, one.apps) for one in followed] == [(AFTER, ("center-ssh",))]


async def test_a_push_of_many_refs_that_nobody_follows_gives_a_few_reasons(caller: Caller) -> None:
    body = cloud_push(*(cloud_change(f"b{number}") for number in range(50)))
    answer = await caller.post("bitbucket", body, bitbucket_headers)
    reason = answer.json()["ignored"]
    assert (answer.status_code, caller.taken) == (200, [])
    assert "cloud: branch b0 is not what cloud follows (branch main)" in reason
    assert reason.endswith("; and so on for 45 other refs")


@pytest.mark.parametrize(
    ("path", "accepts"), [("github", True), ("gitlab", False), ("gitea", False), ("bitbucket", False)]
)
async def test_only_github_may_send_a_form(caller: Caller, path: str, accepts: bool) -> None:
    raw = raw_of(a_push(), form=True)
    answer = await caller.post(path, raw, lambda given: headers_of(given, form=True))
    assert answer.status_code == (202 if accepts else 415)
    if not accepts:
        assert answer.json()["hint"] == "set the webhook's content type to application/json"


async def test_a_replayed_signature_is_refused_once_it_is_old(caller: Caller) -> None:
    answer = await caller.post("gitlab", gitlab_push(), lambda raw: gitlab_signed(raw, at=time.time() - 600))
    assert answer.status_code == 401
    assert "five minutes" in answer.json()["hint"]


async def test_a_secret_that_can_be_none_leaves_the_former_ones(caller: Caller) -> None:
    with pytest.raises(ConfigError, match="signing token"):
        caller.doors.trust({forge.name: ["new"] for forge in FORGES} | {"gitlab": ["whsec_"]})
    for sent in PUSHES.values():
        assert (await caller.post(sent.path, sent.body, sent.headers)).status_code == 202
