"""What the webhook door refused and ignored, as it notes it, and as a person and a script see it."""

from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from deployd.api.answers import NotKeptAnswer
from deployd.api.not_kept import NotKeptList
from deployd.api.webhooks import Accept, WebhookDoor
from deployd.cli.deliveries import _not_kept as row_of
from deployd.delivery import Delivery, Ignored, NotKept, Push, Pushes
from deployd.errors import DeliveryRejected, Unavailable
from deployd.forges.github import GitHub
from tests.api.pages.given import HEADERS
from tests.deliveries import GUID, SECRET, a_pull_request, a_push, an_app, headers_of, proven, raw_of, taken
from tests.desk import Desk

DOUBT = "the webhook's secret must be one of secrets in [github], and its body must arrive unchanged"
WRONG = DeliveryRejected(401, "the signature is missing or wrong", hint=DOUBT)
SCOPE = {"type": "http", "client": ("192.0.2.9", 5)}


class Door:
    """A door for an app that follows `main`, and what it notes."""

    def __init__(self, accept: Accept = taken) -> None:
        self.noted = NotKeptList()
        deliveries = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=CollectorRegistry())
        door = WebhookDoor(
            forge=GitHub([SECRET.encode()]),
            accept=accept,
            deliveries=deliveries,
            propose=proven,
            apps=[an_app()],
            max_body=65536,
            not_kept=self.noted,
        )
        transport = httpx.ASGITransport(door, client=("192.0.2.9", 5))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://deployd.example.com")

    async def answers(self, raw: bytes, headers: dict[str, str]) -> NotKept | None:
        """What is noted of one request."""
        before = len(self.noted.latest())
        await self.client.post("/webhooks/github", content=raw, headers=headers)
        noted = self.noted.latest()
        assert len(noted) <= before + 1
        return noted[0] if len(noted) > before else None


async def test_a_push_that_no_app_follows_is_noted_with_its_ref_and_the_reason() -> None:
    raw = raw_of(a_push("refs/heads/dev"))
    noted = await Door().answers(raw, headers_of(raw))
    assert noted is not None
    assert (noted.event, noted.guid, noted.repository, noted.ref, noted.peer) == (
        *("push", GUID, "github.com/acme/iris", "refs/heads/dev"),
        "",
    )
    assert (noted.status, noted.refused) == (200, False)
    assert noted.reason == "branch dev is not what iris follows (branch main)"
    assert (datetime.now(UTC) - noted.at).total_seconds() < 60


async def test_an_accepted_push_is_not_among_them() -> None:
    raw = raw_of(a_push())
    assert await Door().answers(raw, headers_of(raw)) is None


@pytest.mark.parametrize(
    ("event", "reason"),
    [("ping", "a ping asks only whether deployd is there"), ("issues", "event issues does not deploy")],
)
async def test_a_ping_and_an_event_that_deploys_nothing_are_noted_by_their_event(event: str, reason: str) -> None:
    raw = raw_of({"zen": "x", "hook_id": 1})
    noted = await Door().answers(raw, headers_of(raw, event))
    assert noted is not None
    assert (noted.event, noted.ref, noted.reason) == (event, "", reason)


async def test_a_pull_request_that_nobody_proves_is_noted_with_its_branch() -> None:
    raw = raw_of(a_pull_request())
    noted = await Door().answers(raw, headers_of(raw, "pull_request"))
    assert noted is not None
    assert (noted.event, noted.ref) == ("pull_request", "refs/heads/main")


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"x-hub-signature-256": "sha256=" + "0" * 64}, 401, f"the signature is missing or wrong: {DOUBT}"),
        ({"content-type": "text/secret"}, 415, "the content type is not accepted: set the webhook's content type to"),
        ({"content-length": "65537"}, 413, "the body is larger than 65536 bytes: max_body in [server] sets the limit"),
        ({"x-github-delivery": "secret!"}, 400, "X-GitHub-Delivery is missing or malformed"),
    ],
)
async def test_a_refused_request_is_noted_with_its_sender_and_our_reason_only(
    changes: dict[str, str], status: int, reason: str
) -> None:
    raw = raw_of(a_push("refs/heads/secret"))
    noted = await Door().answers(raw, headers_of(raw) | changes)
    assert noted is not None
    assert (noted.forge, noted.status, noted.peer, noted.refused) == ("github", status, "192.0.2.9", True)
    assert noted.reason.startswith(reason)
    assert (noted.event, noted.guid, noted.repository, noted.ref) == ("", "", "", "")
    assert "secret" not in noted.reason.replace(DOUBT, "")


async def test_a_push_that_the_full_disk_refused_is_noted() -> None:
    async def refuse(*_: object) -> list[str]:
        raise Unavailable("the disk is full")

    raw = raw_of(a_push())
    noted = await Door(refuse).answers(raw, headers_of(raw))
    assert noted is not None
    assert (noted.status, noted.reason) == (503, "the delivery cannot be stored now: redeliver it in a moment")


def test_a_flood_of_refused_requests_pushes_out_no_ignored_push_and_both_lists_are_bounded() -> None:
    noted = NotKeptList()
    noted.ignored(Delivery("github", "first", "push"), Ignored("no"), "no")
    for _ in range(1000):
        noted.refused("github", SCOPE, WRONG)
    assert [one.guid for one in noted.latest()] == [*[""] * 100, "first"]
    for at in range(1000):
        noted.ignored(Delivery("github", str(at), "push"), Ignored("no"), "no")
    assert [one.guid for one in noted.latest()] == [*(str(at) for at in range(999, 899, -1)), *[""] * 100]
    assert [one.guid for one in noted.latest(2)] == ["999", "998", "", ""]


def test_the_noted_fields_of_a_genuine_push_are_short_and_on_one_line() -> None:
    noted = NotKeptList()
    push = Push("github.com/acme/iris\n", "refs/heads/" + "x" * 100_000, "a" * 40)
    noted.ignored(Delivery("github", "g", "push"), Pushes((push,)), "y" * 100_000)
    (one,) = noted.latest()
    assert (one.repository, len(one.ref), len(one.reason)) == ("github.com/acme/iris\\u000a", 200, 1000)


def test_behind_a_proxy_the_address_that_it_reports_is_noted() -> None:
    noted = NotKeptList(lambda _: "198.51.100.7")
    noted.refused("github", SCOPE, WRONG)
    assert noted.latest()[0].peer == "198.51.100.7"


def _noted(daemon: Desk) -> None:
    push = Push("github.com/acme/iris", "refs/heads/dev", "a" * 40)
    daemon.services.not_kept.ignored(Delivery("github", "guid-1", "push"), push, "no app follows it")
    daemon.services.not_kept.refused("github", SCOPE, WRONG)


async def test_the_api_lists_them_on_the_first_page_and_says_why_a_delivery_was_ignored(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    _noted(daemon)
    refused, ignored = (await browser.get("/api/v1/deliveries")).json()["not_kept"]
    assert (refused["status"], refused["peer"], refused["guid"]) == (401, "192.0.2.9", "")
    assert (ignored["status"], ignored["ref"], ignored["reason"]) == (200, "refs/heads/dev", "no app follows it")
    assert (await browser.get("/api/v1/deliveries?before=9")).json()["not_kept"] == []
    one = await browser.get("/api/v1/deliveries/guid-1")
    assert (one.status_code, one.json()["detail"]) == (404, "delivery guid-1 was ignored: no app follows it")


async def test_the_page_says_why_a_push_did_not_deploy_and_that_this_is_forgotten(daemon: Desk) -> None:
    async with daemon.browser(**HEADERS) as client:
        assert "No delivery was refused or ignored since deployd started." in (await client.get("/deliveries")).text
        _noted(daemon)
        page = (await client.get("/deliveries")).text
        assert "No webhook has been accepted yet." in page
        assert "<strong>push</strong> to refs/heads/dev of github.com/acme/iris" in page
        assert "Not deployed: no app follows it" in page
        assert "<strong>Refused with 401</strong>" in page
        assert "github, from 192.0.2.9" in page
        assert "the signature is missing or wrong: the webhook&#39;s secret must be one of secrets in [github]" in page
        assert "a restart of deployd forgets them" in page
        assert "Refused with 401" not in (await client.get("/deliveries?before=9")).text


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"status": 401, "peer": "192.0.2.9"}, ("refused with 401", "github, from 192.0.2.9")),
        (
            {"status": 200, "event": "push", "ref": "refs/heads/dev", "repository": "github.com/acme/iris"},
            ("ignored", "push to refs/heads/dev of github.com/acme/iris"),
        ),
        ({"status": 200, "event": "ping"}, ("ignored", "ping from github")),
    ],
)
def test_the_command_line_says_it_in_a_row(one: dict[str, object], said: tuple[str, str]) -> None:
    answer = NotKeptAnswer.model_validate({"at": datetime.now(UTC), "forge": "github", "reason": "why"} | one)
    what, _, who, reason = row_of(answer)
    assert (what, who, reason) == (*said, "why")
