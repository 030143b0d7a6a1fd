import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from githubkit.webhooks import sign
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from deployd.api.webhooks import WebhookDoor
from deployd.config.app import App
from deployd.delivery import Delivery, Followed, Proposal, Push
from deployd.errors import Unavailable
from deployd.forges.github import GitHub
from tests.deliveries import (
    AFTER,
    GUID,
    SECRET,
    ZEROS,
    a_deletion,
    a_pull_request,
    a_push,
    an_app,
    headers_of,
    raw_of,
)

MAX_BODY = 1024 * 1024
APPS = (
    an_app(),
    an_app("rose", branch="release/*"),
    an_app("lily", repo="git@example.com:acme/lily.git", tag="v*"),
    an_app("moss", repo="/srv/mirrors/iris.git", branch="dev", webhook="github.com/acme/iris"),
    an_app("fern", repo="/acme/fern.git"),
)


class Scheduler:
    """Accepts and records every push. `first` is its answer to a repeated delivery, if set."""

    def __init__(self) -> None:
        self.taken: list[tuple[Delivery, Sequence[Followed]]] = []
        self.shown: list[tuple[Delivery, Proposal, Sequence[str]]] = []
        self.first: Sequence[str] | None = None
        self.fails: Exception | None = None

    async def accept(self, delivery: Delivery, followed: Sequence[Followed]) -> Sequence[str]:
        if self.fails is not None:
            raise self.fails
        self.taken.append((delivery, followed))
        return [name for one in followed for name in one.apps] if self.first is None else self.first

    async def propose(self, delivery: Delivery, shown: Proposal, apps: Sequence[str]) -> Sequence[str]:
        if self.fails is not None:
            raise self.fails
        self.shown.append((delivery, shown, apps))
        return apps


class WebhookClient:
    """An HTTP client of a webhook door, with a fake scheduler behind the door."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.registry = CollectorRegistry()
        deliveries = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=self.registry)
        self.door = WebhookDoor(
            GitHub([SECRET.encode()]),
            self.scheduler.accept,
            deliveries,
            propose=self.scheduler.propose,
            apps=APPS,
            max_body=MAX_BODY,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.door), base_url="http://deployd.example.com")

    def reload(self, secrets: Sequence[bytes] = (SECRET.encode(),), apps: Sequence[App] = APPS) -> None:
        self.door.trust(GitHub(secrets))
        self.door.follow(apps)

    async def post(self, raw: bytes, headers: dict[str, str] | list[tuple[str, str]]) -> httpx.Response:
        return await self.client.post("/webhooks/github", content=raw, headers=headers)

    async def deliver(self, body: Any, event: str = "push", *, form: bool = False) -> httpx.Response:
        raw = raw_of(body, form=form)
        return await self.post(raw, headers_of(raw, event, form=form))

    async def deliver_raw(self, raw: bytes, **changes: str | None) -> httpx.Response:
        """Send bytes with a genuine signature. `changes` sets headers (`_` for `-`) or removes them (None)."""
        headers = headers_of(raw)
        for name, value in changes.items():
            headers.pop(name.replace("_", "-"), None)
            if value is not None:
                headers[name.replace("_", "-")] = value
        return await self.post(raw, headers)

    def count(self, outcome: str) -> float:
        labels = {"forge": "github", "outcome": outcome}
        return self.registry.get_sample_value("deliveries_total", labels) or 0.0


@pytest.fixture
async def webhooks() -> AsyncIterator[WebhookClient]:
    found = WebhookClient()
    async with found.client:
        yield found


def is_problem(answer: httpx.Response, status: int) -> bool:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) <= {"type", "title", "status", "detail", "hint"}
    return bool((answer.status_code, body["status"], body["type"]) == (status, status, "about:blank"))


async def test_a_push_is_stored_and_answered_with_the_apps_that_follow_its_branch(webhooks: WebhookClient) -> None:
    answer = await webhooks.deliver(a_push())
    assert (answer.status_code, answer.json()) == (202, {"delivery": GUID, "apps": ["iris"]})
    push = Push("github.com/acme/iris", "refs/heads/main", AFTER)
    assert webhooks.scheduler.taken == [(Delivery("github", GUID, "push"), [Followed(push, ("iris",))])]
    assert webhooks.count("accepted") == 1


async def test_a_form_is_read_like_json(webhooks: WebhookClient) -> None:
    assert (await webhooks.deliver(a_push(), form=True)).json() == {"delivery": GUID, "apps": ["iris"]}
    assert (await webhooks.deliver({"zen": "x", "hook_id": 1}, "ping", form=True)).json() == {"pong": True}


async def test_all_apps_that_follow_the_branch_are_stored_in_one_call(webhooks: WebhookClient) -> None:
    webhooks.reload(apps=[*APPS, an_app("ivy")])
    assert (await webhooks.deliver(a_push())).json()["apps"] == ["iris", "ivy"]
    assert len(webhooks.scheduler.taken) == 1


async def test_a_repeated_delivery_is_answered_as_the_first_time(webhooks: WebhookClient) -> None:
    webhooks.scheduler.first = ["iris", "one that is gone since"]
    assert (await webhooks.deliver(a_push())).json()["apps"] == ["iris", "one that is gone since"]


@pytest.mark.parametrize(
    ("body", "app"),
    [
        (a_push(repository="Acme/Iris", host="GitHub.com"), "iris"),
        (a_push("refs/heads/release/2"), "rose"),
        (a_push("refs/tags/v1", repository="acme/lily", host="example.com"), "lily"),
        (a_push("refs/heads/dev"), "moss"),
    ],
    ids=["another case", "a branch pattern", "a tag pattern", "a mirror"],
)
async def test_an_app_is_found_by_the_host_and_the_full_path_of_its_repository(
    webhooks: WebhookClient, body: dict[str, Any], app: str
) -> None:
    assert (await webhooks.deliver(body)).json()["apps"] == [app]


@pytest.mark.parametrize("repository", ["acme/iris", "acme/fern"])
async def test_a_repository_of_the_same_name_on_another_host_does_not_match(
    webhooks: WebhookClient, repository: str
) -> None:
    answer = await webhooks.deliver(a_push(repository=repository, host="github.example.com"))
    name = f"github.example.com/{repository}"
    reason = f'no app is configured for {name}; one with a mirror or a path as its repo needs webhook = "{name}"'
    assert (answer.status_code, answer.json()) == (200, {"ignored": reason})
    assert webhooks.scheduler.taken == []


async def test_the_deletion_of_a_branch_is_stored_too(webhooks: WebhookClient) -> None:
    answer = await webhooks.deliver(a_deletion())
    assert (answer.status_code, answer.json()["apps"]) == (202, ["iris"])
    [(_, [followed])] = webhooks.scheduler.taken
    assert followed.push == Push("github.com/acme/iris", "refs/heads/main", ZEROS, deleted=True)


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("refs/tags/x", "tag x is not what lily follows (tag v*)"),
        ("refs/heads/dev", "branch dev is not what lily follows (tag v*)"),
        ("refs/tags/v\x07", "tag v\\u0007 is refused: that is not a valid name for a branch or tag"),
    ],
)
async def test_a_push_on_a_ref_that_nobody_follows_is_answered_with_the_reason(
    webhooks: WebhookClient, ref: str, reason: str
) -> None:
    answer = await webhooks.deliver(a_push(ref, repository="acme/lily", host="example.com"))
    assert (answer.status_code, answer.json()) == (200, {"ignored": reason})
    assert webhooks.scheduler.taken == []
    assert webhooks.count("ignored") == 1


async def test_the_reason_is_given_for_each_app_that_does_not_follow_the_ref(webhooks: WebhookClient) -> None:
    reason = (await webhooks.deliver(a_push("refs/heads/other"))).json()["ignored"]
    assert reason == "; ".join(
        f"{app}: branch other is not what {app} follows (branch {branch})"
        for app, branch in (("iris", "main"), ("rose", "release/*"), ("moss", "dev"))
    )


@pytest.mark.parametrize(
    "ref", ["refs/heads/--upload-pack=x", "refs/heads/a\x1b[2J\nb", "refs/heads/x\u202ey", "-x", ""]
)
async def test_a_hostile_ref_is_ignored_with_a_printable_reason(
    webhooks: WebhookClient, ref: str, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks.reload(apps=[an_app(branch="**")])
    with caplog.at_level(logging.DEBUG):
        answer = await webhooks.deliver(a_push(ref))
    assert answer.status_code == 200
    assert answer.json()["ignored"].isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert webhooks.scheduler.taken == []


async def test_unicode_in_a_ref_is_kept(webhooks: WebhookClient) -> None:
    webhooks.reload(apps=[an_app(branch="Größe/*")])
    await webhooks.deliver(a_push("refs/heads/Größe/模型"))
    [(_, [followed])] = webhooks.scheduler.taken
    assert followed.push.ref == "refs/heads/Größe/模型"


@pytest.mark.parametrize("event", ["create", "delete", "pull_request", "workflow_run", "invented_in_2031"])
async def test_another_event_does_not_deploy(webhooks: WebhookClient, event: str) -> None:
    answer = await webhooks.deliver({"action": "completed"}, event)
    assert (answer.status_code, answer.json()) == (200, {"ignored": f"event {event} does not deploy"})


PROVING = (an_app(prove_pull_requests=True), an_app("rose"), an_app("lily", branch="dev", prove_pull_requests=True))


@pytest.mark.parametrize("action", ["opened", "reopened", "synchronize"])
async def test_a_commit_of_a_pull_request_is_proven_for_the_apps_that_want_it(
    webhooks: WebhookClient, action: str
) -> None:
    webhooks.reload(apps=PROVING)
    answer = await webhooks.deliver(a_pull_request(action), "pull_request")
    assert (answer.status_code, answer.json()) == (202, {"delivery": GUID, "apps": ["iris"]})
    shown = Proposal("github.com/acme/iris", 7, "refs/heads/main", AFTER, "A deeper tree", "ada")
    assert webhooks.scheduler.shown == [(Delivery("github", GUID, "pull_request"), shown, ["iris"])]
    assert webhooks.scheduler.taken == []
    assert webhooks.count("accepted") == 1


@pytest.mark.parametrize("fork", ["mallory/iris", "acme/iris2", "acme", "", "acme/iris\n", None])
async def test_a_pull_request_of_a_fork_is_never_proven_by_itself(webhooks: WebhookClient, fork: str | None) -> None:
    webhooks.reload(apps=PROVING)
    answer = await webhooks.deliver(a_pull_request(fork=fork), "pull_request")
    assert answer.status_code == 200
    assert answer.json()["ignored"].startswith("pull request 7 comes from a fork, ")
    assert f"`deployd prove iris {AFTER}` proves it" in answer.json()["ignored"]
    assert answer.json()["ignored"].isprintable()
    assert webhooks.scheduler.shown == []


async def test_a_pull_request_for_another_branch_is_ignored_with_the_reason(webhooks: WebhookClient) -> None:
    webhooks.reload(apps=PROVING)
    answer = await webhooks.deliver(a_pull_request(base={"ref": "next", "sha": AFTER}), "pull_request")
    reason = "pull request 7 is for branch next, which iris, lily do not follow"
    assert (answer.status_code, answer.json()) == (200, {"ignored": reason})


@pytest.mark.parametrize("action", ["closed", "labeled", "edited", "not_yet_invented", ""])
async def test_a_pull_request_that_shows_no_new_commit_is_ignored(webhooks: WebhookClient, action: str) -> None:
    webhooks.reload(apps=PROVING)
    answer = await webhooks.deliver(a_pull_request(action), "pull_request")
    assert (answer.status_code, answer.json()) == (200, {"ignored": "event pull_request does not deploy"})


async def test_pull_requests_are_ignored_unless_an_app_proves_them(webhooks: WebhookClient) -> None:
    answer = await webhooks.deliver(a_pull_request(), "pull_request")
    assert (answer.status_code, answer.json()) == (200, {"ignored": "event pull_request does not deploy"})


@pytest.mark.parametrize("changes", [{"head": None}, {"head": {"sha": "x"}}, {"number": "7"}, {"base": {"sha": AFTER}}])
async def test_a_malformed_pull_request_is_refused(webhooks: WebhookClient, changes: dict[str, Any]) -> None:
    assert is_problem(await webhooks.deliver(a_pull_request(**changes), "pull_request"), 400)


async def test_a_commit_of_a_pull_request_that_cannot_be_stored_is_not_acknowledged(webhooks: WebhookClient) -> None:
    webhooks.reload(apps=PROVING)
    webhooks.scheduler.fails = Unavailable("database is locked")
    assert is_problem(await webhooks.deliver(a_pull_request(), "pull_request"), 503)


async def test_a_ping_is_answered(webhooks: WebhookClient) -> None:
    answer = await webhooks.deliver({"zen": "x", "hook_id": 1, "hook": {}}, "ping")
    assert (answer.status_code, answer.json()) == (200, {"pong": True})
    assert webhooks.count("ping") == 1


RAW = raw_of(a_push())
GENUINE = sign(SECRET, RAW)
UNVERIFIED: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "sha1 alone": [("X-Hub-Signature", sign(SECRET, RAW, method="sha1"))],
    "sha1 under the other name": [("X-Hub-Signature-256", sign(SECRET, RAW, method="sha1"))],
    "empty": [("X-Hub-Signature-256", "")],
    "no digits": [("X-Hub-Signature-256", "sha256=")],
    "short": [("X-Hub-Signature-256", GENUINE[:-1])],
    "long": [("X-Hub-Signature-256", GENUINE + "0")],
    "upper case": [("X-Hub-Signature-256", "sha256=" + GENUINE[7:].upper())],
    "spaces": [("X-Hub-Signature-256", f"sha256= {GENUINE[7:]}")],
    "no hex": [("X-Hub-Signature-256", "sha256=" + "z" * 64)],
    "not ASCII": [("X-Hub-Signature-256", "sha256=" + "\xff" * 64)],
    "twice": [("X-Hub-Signature-256", GENUINE), ("X-Hub-Signature-256", GENUINE)],
    "another secret": [("X-Hub-Signature-256", sign("other", RAW))],
    "another body": [("X-Hub-Signature-256", sign(SECRET, RAW + b" "))],
}


@pytest.mark.parametrize("name", UNVERIFIED)
async def test_every_wrong_signature_gets_the_same_answer(webhooks: WebhookClient, name: str) -> None:
    headers = [("Content-Type", "application/json"), ("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "x")]
    answer = await webhooks.client.post(
        "/webhooks/github",
        content=RAW,
        headers=[(key.encode(), value.encode("latin-1")) for key, value in headers + UNVERIFIED[name]],
    )
    assert is_problem(answer, 401)
    assert answer.content == (await webhooks.post(b"", {"Content-Type": "application/json"})).content
    assert GENUINE[7:] not in answer.text
    assert webhooks.scheduler.taken == []
    assert webhooks.count("unverified") == 2


async def test_an_unverified_body_is_neither_parsed_nor_logged(
    webhooks: WebhookClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "deployd"):
        answer = await webhooks.deliver_raw(b"{", X_Hub_Signature_256="sha256=" + "0" * 64, X_GitHub_Event=None)
    assert answer.status_code == 401
    assert [record for record in caplog.records if record.name.startswith("deployd")] == []


async def test_without_secrets_every_delivery_is_refused(webhooks: WebhookClient) -> None:
    for secrets in ([], [b""]):
        webhooks.reload(secrets)
        raw = raw_of(a_push())
        headers = headers_of(raw) | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
        assert (await webhooks.post(raw, headers)).status_code == 401
        assert (await webhooks.deliver(a_push())).status_code == 401


async def test_both_secrets_are_accepted_during_a_rotation_and_only_the_new_one_after(webhooks: WebhookClient) -> None:
    webhooks.reload([b"new", SECRET.encode()])
    assert (await webhooks.deliver(a_push())).status_code == 202
    webhooks.reload([b"new"])
    assert (await webhooks.deliver(a_push())).status_code == 401


@pytest.mark.parametrize("name", ["X_GitHub_Event", "X_GitHub_Delivery"])
@pytest.mark.parametrize("value", [None, "", "a b", "x" * 200, "a/../b"])
async def test_a_verified_delivery_needs_its_event_and_guid(
    webhooks: WebhookClient, name: str, value: str | None
) -> None:
    assert is_problem(await webhooks.deliver_raw(RAW, **{name: value}), 400)
    assert webhooks.count("malformed") == 1


async def test_the_event_in_the_header_must_fit_the_body(webhooks: WebhookClient) -> None:
    assert is_problem(await webhooks.deliver(a_push(), "ping"), 400)
    assert is_problem(await webhooks.deliver({"zen": "x", "hook_id": 1}), 400)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}"])
async def test_a_verified_body_that_is_not_a_json_object_is_malformed_for_every_event(
    webhooks: WebhookClient, raw: bytes
) -> None:
    assert is_problem(await webhooks.deliver_raw(raw), 400)
    assert is_problem(await webhooks.deliver_raw(raw, X_GitHub_Event="star"), 400)
    form = urlencode({"payload": raw}).encode()
    assert is_problem(await webhooks.deliver_raw(form, Content_Type="application/x-www-form-urlencoded"), 400)


@pytest.mark.parametrize("raw", [b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\xff"}', b'{"ref":"\xff"}'])
async def test_a_verified_body_that_is_not_a_push_is_malformed(webhooks: WebhookClient, raw: bytes) -> None:
    answer = await webhooks.deliver_raw(raw)
    assert is_problem(answer, 400)
    assert answer.json()["detail"].startswith("the body does not look like a push event: ")
    assert webhooks.count("malformed") == 1


@pytest.mark.parametrize("raw", [b"", b"payload={}&payload={}", b"a=b", b"&" * 100_000])
async def test_a_form_must_have_exactly_one_payload(webhooks: WebhookClient, raw: bytes) -> None:
    assert is_problem(await webhooks.deliver_raw(raw, Content_Type="application/x-www-form-urlencoded"), 400)


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "multipart/form-data; boundary=x", "application/jsonp", "application/json, text/plain"],
)
async def test_another_content_type_is_refused(webhooks: WebhookClient, media_type: str | None) -> None:
    assert is_problem(await webhooks.deliver_raw(RAW, Content_Type=media_type), 415)
    assert webhooks.count("unsupported") == 1


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x"])
async def test_a_content_type_may_have_parameters_and_any_case(webhooks: WebhookClient, media_type: str) -> None:
    assert (await webhooks.deliver_raw(RAW, Content_Type=media_type)).status_code == 202


@pytest.mark.parametrize("encoding", ["gzip", "identity", ""])
async def test_an_encoded_body_is_refused(webhooks: WebhookClient, encoding: str) -> None:
    assert is_problem(await webhooks.deliver_raw(RAW, Content_Encoding=encoding), 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
async def test_another_method_is_refused(webhooks: WebhookClient, method: str) -> None:
    answer = await webhooks.client.request(method, "/webhooks/github")
    assert is_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


async def test_an_announced_or_real_size_above_the_limit_is_too_large(webhooks: WebhookClient) -> None:
    assert is_problem(await webhooks.post(RAW, headers_of(RAW) | {"Content-Length": str(MAX_BODY + 1)}), 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1000 + 1):
            yield b" " * 1000

    answer = await webhooks.client.post("/webhooks/github", content=chunks(), headers=headers_of(RAW))
    assert is_problem(answer, 413)
    assert webhooks.count("too_large") == 2


def padded(size: int, *, form: bool = False) -> bytes:
    """A push of exactly `size` bytes."""
    empty = raw_of(a_push(padding=""), form=form)
    return raw_of(a_push(padding="x" * (size - len(empty))), form=form)


async def test_a_body_at_the_limit_is_accepted_and_a_form_may_be_half_as_large_again(webhooks: WebhookClient) -> None:
    for size, form in ((MAX_BODY, False), (MAX_BODY * 3 // 2, True)):
        raw = padded(size, form=form)
        assert len(raw) == size
        assert (await webhooks.post(raw, headers_of(raw, form=form))).status_code == 202
        assert (await webhooks.post(raw + b" ", headers_of(raw + b" ", form=form))).status_code == 413


@pytest.mark.slow
async def test_large_bodies_do_not_delay_small_ones(webhooks: WebhookClient) -> None:
    big = raw_of(a_push(padding=[{"x": [number]} for number in range(70_000)]))
    large = [asyncio.create_task(webhooks.post(big, headers_of(big))) for _ in range(3)]
    small = await webhooks.deliver(a_push())
    assert small.status_code == 202
    assert not all(task.done() for task in large)
    assert [answer.status_code for answer in await asyncio.gather(*large)] == [202, 202, 202]


async def test_a_delivery_that_cannot_be_stored_is_not_acknowledged(webhooks: WebhookClient) -> None:
    webhooks.scheduler.fails = Unavailable("database /var/lib/x is locked")
    answer = await webhooks.deliver(a_push())
    assert is_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert "/var/lib" not in answer.text
    assert webhooks.count("unavailable") == 1


async def test_a_bug_is_counted_and_the_next_delivery_is_accepted(webhooks: WebhookClient) -> None:
    webhooks.scheduler.fails = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await webhooks.deliver(a_push())
    assert webhooks.count("failed") == 1
    webhooks.scheduler.fails = None
    assert (await webhooks.deliver(a_push())).status_code == 202


async def test_a_client_that_disconnects_gets_no_answer(webhooks: WebhookClient) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(RAW).items()]
    await webhooks.door({"type": "http", "method": "POST", "headers": headers}, receive, send)
    assert sent == []
    assert webhooks.count("aborted") == 1


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(sorted(a_push())), _ANY)
async def test_no_value_in_any_field_causes_a_server_error(webhooks: WebhookClient, name: str, value: Any) -> None:
    answer = await webhooks.deliver(a_push(**{name: value}))
    assert answer.status_code in {200, 202, 400}
    json.loads(answer.content)
