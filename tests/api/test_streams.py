"""Streamed logs, output, commands and events, over TCP."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from deployd.errors import Unavailable
from deployd.status import Status
from tests.desk import MAIN, REPO, A, B, Desk

LOG = "/api/v1/apps/iris/deploys/1/log"


@pytest.fixture
async def client(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with daemon.listening() as url:
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix://"))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as connected:
            yield connected


class Reader:
    """The lines of a streamed answer. Keep it as long as the stream is to stay open: a generator that nobody holds is closed, and
    closes the connection."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def until(self, wanted: str) -> list[str]:
        """All lines up to the first that begins with `wanted`."""
        found: list[str] = []
        async with asyncio.timeout(20):
            async for line in self._lines:
                found.append(line)
                if line.startswith(wanted):
                    return found
        raise AssertionError(f"{wanted!r} never came: {found}")

    async def rest(self) -> list[str]:
        async with asyncio.timeout(20):
            return [line async for line in self._lines]


async def test_the_log_of_a_past_deploy_is_plain_text_that_a_browser_does_not_execute(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    answer = await client.get(LOG)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "building deployd/test/iris\n" in answer.text
    assert (await client.get(f"{LOG}?from=4")).text.startswith(answer.text[4:])
    assert (await client.get(f"{LOG}?from={2**62}")).text == ""


async def test_the_log_of_a_queued_deploy_is_followed_from_its_start_to_its_end(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = asyncio.Event()
    await daemon.scheduler.pause("iris", paused=True)
    await client.post("/api/v1/apps/iris/deploys")

    async def watch() -> list[str]:
        async with client.stream("GET", f"{LOG}?follow=1") as response:
            reader = Reader(response)
            seen = await reader.until("building")
            daemon.builder.held[A].set()
            return seen + await reader.rest()

    watching = asyncio.create_task(watch())
    await daemon.scheduler.pause("iris", paused=False)
    seen = await asyncio.wait_for(watching, 20)
    assert seen[0] == "==> fetch"
    assert "iris/1 is live" in seen


async def test_following_ends_when_the_deploy_ends_without_a_log(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    await daemon.scheduler.pause("iris", paused=True)
    await client.post("/api/v1/apps/iris/deploys")
    following = asyncio.create_task(client.get(f"{LOG}?follow=1"))
    await _open_streams(daemon, 1)
    await daemon.scheduler.cancel("iris", 1)
    answer = await asyncio.wait_for(following, 20)
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.slow
async def test_following_goes_on_while_a_deploy_waits_for_something_unavailable(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.away = [Unavailable("the engine is away")]
    await client.post("/api/v1/apps/iris/deploys")
    text = (await asyncio.wait_for(client.get(f"{LOG}?follow=1"), 20)).text
    assert text.index("iris/1 failed: the engine is away") < text.index("iris/1 is live")


async def test_the_output_of_a_release_is_shown_and_followed(daemon: Desk, client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/apps/iris/log")).status_code == 409
    await daemon.deployed(A)
    assert (await client.get("/api/v1/apps/iris/log?tail=1")).text == "two\n"
    async with client.stream("GET", "/api/v1/apps/iris/log?follow=1") as response:
        reader = Reader(response)
        await reader.until("two")
        daemon.target.more.set()
        assert await reader.rest() == ["three"]


async def test_a_command_streams_its_output_and_its_exit_code(daemon: Desk, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/apps/iris/exec", json={"command": ["échec"]})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["output"] for line in lines[:-1]) == "échec"
    assert lines[-1] == {"exit_code": 7}
    assert (await client.post("/api/v1/apps/iris/exec", json={"command": []})).status_code == 422


async def test_what_is_typed_at_the_terminal_of_a_command_reaches_it(daemon: Desk, client: httpx.AsyncClient) -> None:
    asked = {"command": ["sh"], "terminal": {"rows": 33, "columns": 99}}
    async with client.stream("POST", "/api/v1/apps/iris/exec", json=asked) as response:
        lines = response.aiter_lines()
        path = f"/api/v1/terminals/{json.loads(await anext(lines))['terminal']}"
        assert json.loads(await anext(lines)) == {"output": "33x99 "}
        for body, said in (({"typed": "Y2Fmw6k="}, "café"), ({"size": {"rows": 20, "columns": 70}}, "20x70 ")):
            assert (await client.post(path, json=body)).status_code == 204
            assert json.loads(await anext(lines)) == {"output": said}
        assert (await client.post(path, json={"typed": "cQ=="})).status_code == 204
        assert json.loads(await anext(lines)) == {"exit_code": 5}
    assert (await client.post(path, json={"typed": "cQ=="})).status_code == 404
    assert "typed: expected Base64" in (await client.post(path, json={"typed": "*"})).text
    assert daemon.services.terminals == {}


async def test_events_are_streamed_and_resumed(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events?app=iris") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        reader = Reader(response)
        assert await reader.until("retry:") == ["retry: 1000"]
        await daemon.deployed(B, "rose")
        await daemon.deployed(A)
        first = await reader.until("data:")
        assert first[1].startswith("id: ")
        data = json.loads(first[-1].removeprefix("data: "))
        assert (data["app"], data["number"], data["status"]) == ("iris", 1, "queued")
    last = first[1].removeprefix("id: ")
    async with client.stream("GET", "/api/v1/events?app=iris", headers={"Last-Event-ID": last}) as response:
        reader = Reader(response)
        missed = await reader.until("data:")
        assert json.loads(missed[-1].removeprefix("data: "))["status"] == "building"


async def test_the_event_stream_can_include_the_log_of_a_deploy(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    await daemon.scheduler.pause("iris", paused=True)
    await client.post("/api/v1/apps/iris/deploys")
    async with client.stream("GET", "/api/v1/events?log=iris/1") as response:
        reader = Reader(response)
        await reader.until("retry:")
        await daemon.scheduler.pause("iris", paused=False)
        await reader.until("event: log")
        (line,) = await reader.until("data:")
        told = json.loads(line.removeprefix("data: "))
        assert (told["app"], told["number"], told["text"].splitlines()[0]) == ("iris", 1, "==> fetch")
    assert (await client.get("/api/v1/events?log=iris/9")).status_code == 404
    assert (await client.get("/api/v1/events?log=../x")).status_code == 422


async def test_an_event_id_from_before_a_restart_is_answered_with_reset(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    async with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "7"}) as response:
        reader = Reader(response)
        assert "event: reset" in await reader.until("event:")


async def test_a_stream_ends_when_the_client_disconnects(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        assert daemon.services.streams.open == 1
    await _open_streams(daemon, 0)


async def test_streams_end_when_the_daemon_stops(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        daemon.services.stopping.set()
        await reader.rest()


async def test_the_number_of_open_streams_is_bounded(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.services.streams.most = 1
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        refused = await client.get("/api/v1/events")
        assert (refused.status_code, refused.json()["title"]) == (429, "Too Many Requests")
    assert Status.LIVE is (await daemon.deployed(A)).status


async def _open_streams(daemon: Desk, wanted: int) -> None:
    async with asyncio.timeout(20):
        while daemon.services.streams.open != wanted:  # noqa: ASYNC110 - the daemon tells nobody
            await asyncio.sleep(0.01)
