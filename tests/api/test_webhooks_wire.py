"""The webhook door over TCP: limits on bodies and time, as a client sees them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from deployd.api.webhooks import WebhookDoor
from deployd.forges.github import GitHub
from deployd.http.bodies import Bodies
from deployd.http.protocol import Protocol
from tests.deliveries import SECRET, a_push, an_app, headers_of, proven, raw_of, taken
from tests.http.wire import connected, request, served

MAX_BODY = 1024 * 1024


@pytest.fixture
async def door() -> AsyncIterator[tuple[WebhookDoor, int]]:
    """A webhook door on a free port that takes every push."""
    deliveries = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=CollectorRegistry())
    found = WebhookDoor(
        GitHub([SECRET.encode()]), taken, deliveries, propose=proven, apps=[an_app()], max_body=MAX_BODY
    )
    async with served(found) as (_, at):
        yield found, at


def genuine(body: bytes) -> list[str]:
    return [f"{name}: {value}" for name, value in headers_of(body).items()]


async def test_a_genuine_push_is_accepted_over_tcp(door: tuple[WebhookDoor, int]) -> None:
    raw = raw_of(a_push())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{door[1]}", verify=False) as client:
        for _ in range(3):
            answer = await client.post("/webhooks/github", content=raw, headers=headers_of(raw))
            assert answer.status_code == 202
            assert set(answer.headers) == {"content-type", "content-length"}


async def test_a_signature_with_non_ascii_bytes_is_refused_over_tcp(door: tuple[WebhookDoor, int]) -> None:
    async with connected(door[1]) as client:
        await client.send(request(b"", "Content-Type: application/json", "X-Hub-Signature-256: sha256=é"))
        assert (await client.answer())[0] == 401
        raw = raw_of(a_push())
        await client.send(request(raw, *genuine(raw)))
        assert (await client.answer())[0] == 202


async def test_a_body_that_is_announced_as_too_large_is_refused_unread(door: tuple[WebhookDoor, int]) -> None:
    async with connected(door[1]) as client:
        await client.send(request(b"", *genuine(b""), announced=MAX_BODY + 1))
        assert (await client.answer())[0] == 413
        assert await client.ended() == b""


async def test_a_client_that_sends_a_huge_body_anyway_still_gets_the_refusal(
    door: tuple[WebhookDoor, int],
) -> None:
    body = b"x" * (20 * MAX_BODY)
    async with connected(door[1]) as client:
        await client.send(request(body, *genuine(b"")))
        assert (await client.answer())[0] == 413


async def test_chunks_that_are_too_large_in_total_are_refused(door: tuple[WebhookDoor, int]) -> None:
    head = ["POST /webhooks/github HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *genuine(b""), "", ""]
    async with connected(door[1]) as client:
        await client.send("\r\n".join(head).encode())
        with suppress(ConnectionError):
            for _ in range(MAX_BODY // 10_000 + 2):
                await client.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await client.answer())[0] == 413
        assert await client.ended() == b""


@pytest.mark.slow
async def test_a_slowly_dripping_body_is_answered_and_the_connection_closed(
    door: tuple[WebhookDoor, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.5)
    async with connected(door[1]) as client:
        await client.send(request(b"x" * 200_000, *genuine(b""), announced=300_000))
        dripping = asyncio.create_task(client.drip(b"x" * 9000))
        assert (await client.answer())[0] == 408
        assert await client.ended() == b""
        dripping.cancel()
    async with asyncio.timeout(20):
        while door[0]._bodies.size:  # noqa: ASYNC110 - nothing tells when a connection is lost
            await asyncio.sleep(0.01)


async def test_the_memory_for_unverified_bodies_is_bounded(door: tuple[WebhookDoor, int]) -> None:
    door[0]._bodies = Bodies(most=MAX_BODY)
    async with connected(door[1]) as first, connected(door[1]) as second:
        await first.send(request(b"x" * (MAX_BODY - 1000), *genuine(b""), announced=MAX_BODY))
        while door[0]._bodies.size < MAX_BODY - 1000:  # noqa: ASYNC110 - nothing tells when bytes have arrived
            await asyncio.sleep(0.01)
        await second.send(request(b"x" * 200_000, *genuine(b"")))
        assert (await second.answer())[0] == 503
        raw = raw_of(a_push())
        async with connected(door[1]) as third:
            await third.send(request(raw, *genuine(raw)))
            assert (await third.answer())[0] == 202


async def test_a_client_that_expects_100_continue_gets_it(door: tuple[WebhookDoor, int]) -> None:
    raw = raw_of(a_push())
    async with connected(door[1]) as client:
        await client.send(request(b"", *genuine(raw), "Expect: 100-continue", announced=len(raw)))
        assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
        await client.send(raw)
        assert (await client.answer())[0] == 202
