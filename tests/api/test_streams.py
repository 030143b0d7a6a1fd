"""Streamed answers end with their readers, and with the daemon."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from deployd.api.streams import Stream
from deployd.status import Status
from tests.api.reading import Reader, deployed, open_streams
from tests.desk import A, Desk


async def test_a_stream_ends_when_the_client_disconnects(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        assert daemon.services.streams.open == 1
    await open_streams(daemon, 0)


async def test_streams_end_when_the_daemon_stops(daemon: Desk, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        daemon.services.stopping.set()
        await reader.rest()


async def test_the_number_ofopen_streams_is_bounded(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.services.streams.most = 1
    async with client.stream("GET", "/api/v1/events") as response:
        reader = Reader(response)
        await reader.until("retry:")
        refused = await client.get("/api/v1/events")
        assert (refused.status_code, refused.json()["title"]) == (429, "Too Many Requests")
    assert Status.LIVE is (await daemon.deployed(A)).status


@pytest.mark.slow
async def test_a_reader_that_takes_nothing_is_cut_off(
    daemon: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Stream, "reads_within", 0.2)
    await deployed(daemon, A)
    with daemon.logs.open("iris", 1) as log:
        log.write("a line of the log\n" * 500_000)
    async with daemon.listening() as url:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, url.removeprefix("unix://"))
            deaf.send(b"GET /api/v1/apps/iris/deploys/1/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await open_streams(daemon, 1)
            await open_streams(daemon, 0)
            async with asyncio.timeout(10):
                with suppress(ConnectionResetError):
                    while await loop.sock_recv(deaf, 65536):  # what was sent before; then the end
                        pass
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
