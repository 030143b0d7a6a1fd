"""The webhook door against every payload that GitHub's own client library is tested with."""

from collections import Counter as Tally
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from deployd.api.webhooks import WebhookDoor
from deployd.forges.github import GitHub
from tests.conftest import needed
from tests.deliveries import GUID, SECRET, an_app, headers_of, proven, raw_of, taken
from tests.testbed.payloads import Payload, payloads

CLOUD = "https://github.com/codertocat/hello-world.git"
ENTERPRISE = "git@octocoders.github.io:codertocat/hello-world.git"  # of the same name, on a server of its own
APPS = (
    an_app(repo=CLOUD, branch="master"),
    an_app("rose", repo=CLOUD, tag="simple-*"),
    an_app("lily", repo=ENTERPRISE, tag="simple-*"),
)


@pytest.fixture(scope="module")
def examples() -> tuple[Payload, ...]:
    """All the payloads."""
    return needed(payloads)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    deliveries = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=CollectorRegistry())
    door = WebhookDoor(
        GitHub([SECRET.encode()]), taken, deliveries, propose=proven, apps=APPS, max_body=25 * 1024 * 1024
    )
    transport = httpx.ASGITransport(door)
    async with httpx.AsyncClient(transport=transport, base_url="http://deployd.example.com") as found:
        yield found


def expected(example: Payload) -> tuple[int, str]:
    """The code, and what the answer begins with."""
    body = example.body
    match example.event:
        case "ping":
            return 200, '{"pong":true}'
        case "push" if "octocoders" in body["repository"]["html_url"]:
            return 202, f'{{"delivery":"{GUID}","apps":["lily"]}}'
        case "push":
            app = "iris" if body["ref"] == "refs/heads/master" else "rose"
            return 202, f'{{"delivery":"{GUID}","apps":["{app}"]}}'
        case _:
            return 200, f'{{"ignored":"event {example.event} does not deploy"}}'


def test_the_examples_are_complete(examples: tuple[Payload, ...]) -> None:
    current = Tally(example.event for example in examples if example.edition == "api.github.com")
    assert (len(current), current.total(), current["push"], current["ping"]) == (58, 329, 7, 4)


@pytest.mark.slow
@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
async def test_every_payload_is_answered_according_to_its_event(
    examples: tuple[Payload, ...], client: httpx.AsyncClient, form: bool
) -> None:
    wrong = []
    for example in examples:
        raw = raw_of(example.body, form=form)
        answer = await client.post("/webhooks/github", content=raw, headers=headers_of(raw, example.event, form=form))
        status, begins = expected(example)
        if answer.status_code != status or not answer.text.startswith(begins):
            wrong.append(f"{example}: {answer.status_code} {answer.text}")
    assert wrong == []


async def test_every_payload_with_a_changed_byte_is_refused(
    examples: tuple[Payload, ...], client: httpx.AsyncClient
) -> None:
    for example in examples[::10]:
        raw = raw_of(example.body)
        headers = headers_of(raw, example.event)
        answer = await client.post("/webhooks/github", content=raw.replace(b":", b": ", 1), headers=headers)
        assert answer.status_code == 401


@pytest.mark.slow
async def test_no_payload_sent_as_a_push_or_ping_causes_a_server_error(
    examples: tuple[Payload, ...], client: httpx.AsyncClient
) -> None:
    for example in examples[::2]:
        for event in {"push", "ping"} - {example.event}:
            raw = raw_of(example.body)
            answer = await client.post("/webhooks/github", content=raw, headers=headers_of(raw, event))
            assert answer.status_code == 400, example
