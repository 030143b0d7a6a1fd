"""Server-sent events: what happens, with a log and what a release prints."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployd.api.events import _unfinished
from tests.api.reading import Reader, deployed
from tests.desk import MAIN, REPO, A, B, Desk


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


async def _next(reader: Reader, kind: str) -> dict[str, Any]:
    """The next event of that kind, with its id."""
    seen = await reader.until(f"event: {kind}")
    (data,) = await reader.until("data:")
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return {"id": seen[-2].removeprefix("id: "), **found}


async def test_a_log_in_the_event_stream_goes_on_where_the_connection_broke(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    await deployed(daemon, A)
    with daemon.logs.open("iris", 1) as log:
        place = log.mark()
        async with client.stream("GET", f"/api/v1/events?log=iris/1&from={place}") as response:
            reader = Reader(response)
            await reader.until("retry:")
            log.write("\x1b[31mred\x1b[0m ü\n")
            told = await _next(reader, "log")
        assert (told["from"], told["text"]) == (place, "\x1b[0;31mred\x1b[0m ü\n")
        assert told["to"] == place + len(told["text"].encode())
        log.write("missed\n")
        headers = {"Last-Event-ID": told["id"]}
        async with client.stream("GET", "/api/v1/events?log=iris/1&from=0", headers=headers) as response:
            again = await _next(Reader(response), "log")
            assert (again["from"], again["text"]) == (told["to"], "missed\n")


async def test_log_lines_from_after_the_end_of_a_deploy_are_sent_too(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    with daemon.logs.open("iris", 1) as log:
        size = log.mark()
    async with client.stream("GET", f"/api/v1/events?log=iris/1&from={size}") as response:
        reader = Reader(response)
        await reader.until("retry:")
        for line in ("drained\n", "removed\n"):
            with daemon.logs.open("iris", 1) as log:
                log.write(line)
            assert (await _next(reader, "log"))["text"] == line


async def test_a_character_is_never_divided_between_two_events(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    text = "x" + "é" * 70_000 + "\n"
    with daemon.logs.open("iris", 1) as log:
        place = log.mark()
        log.write(text)
    async with client.stream("GET", f"/api/v1/events?log=iris/1&from={place}") as response:
        reader, got, end = Reader(response), "", place
        while len(got) < len(text):
            told = await _next(reader, "log")
            assert told["from"] == end
            got, end = got + told["text"], told["to"]
    assert (got, end) == (text, place + len(text.encode()))


def test_only_the_beginning_of_a_character_waits_for_its_rest() -> None:
    for sign in ("a", "é", "€", "😀"):
        data = sign.encode()
        for length in range(1, len(data) + 1):
            assert _unfinished(b"xyz" + data[:length]) == (length if length < len(data) else 0)
    assert _unfinished(b"\x80\x80\x80\x80") == 0
    assert _unfinished(b"") == 0


async def test_the_output_of_the_live_release_and_of_the_next_one_is_sent(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    daemon.target.printed = [b"\x1b[31mone\x1b[0m\x1b[2K\n", b"two\n"]
    await daemon.deployed(A)
    async with client.stream("GET", "/api/v1/events?output=iris") as response:
        reader = Reader(response)
        assert (await _next(reader, "output"))["begin"] is True
        assert (await _next(reader, "output"))["text"] == "\x1b[0;31mone\x1b[0m\ntwo\n"
        daemon.target.printed = [b"of the next\n"]
        await daemon.deployed(B)
        text = ""
        while "of the next" not in text:
            text += (await _next(reader, "output"))["text"]
        assert text.startswith("-- iris/2 is live now; its output follows --\nof the next\n")


@pytest.mark.slow
async def test_output_that_ends_is_asked_for_again_after_a_while_and_not_at_once(
    daemon: Desk, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.deployed(A)
    daemon.target.more.set()  # its output ends, as that of a container that has ended
    asked, output = [], daemon.target.output

    def counted(*arguments: Any, **keys: Any) -> AsyncIterator[bytes]:
        asked.append(keys["since"])
        return output(*arguments, **keys)

    monkeypatch.setattr(daemon.target, "output", counted)
    async with client.stream("GET", "/api/v1/events?output=iris") as response:
        reader = Reader(response)
        for _ in range(3):
            await _next(reader, "output")
    assert len(asked) == 2
    assert asked[0] is None
    assert asked[1] is not None


async def test_an_app_that_does_not_run_says_so_in_its_output(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events?output=iris") as response:
        reader = Reader(response)
        await _next(reader, "output")
        assert "nothing of iris runs" in (await _next(reader, "output"))["text"]
    assert (await client.get("/api/v1/events?output=none")).status_code == 404
