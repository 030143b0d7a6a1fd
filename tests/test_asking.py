"""What can go wrong between a client and its daemon, and what is said of it."""

import asyncio
import hashlib
import inspect
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployd.address import KEEPS_S, why_unreachable
from deployd.asking import DaemonAway
from deployd.client import Client
from deployd.config.daemon import SOCKET
from deployd.errors import RequestRefused, Unavailable
from deployd.host.unix import short
from deployd.http.server import Server
from tests.desk import Desk, desk, settings


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, settings("iris", "rose")) as running:
        yield running


async def test_the_token_is_sent(tmp_path: Path) -> None:
    tokens = [{"name": "ci", "role": "read", "sha256": hashlib.sha256(b"secret").hexdigest()}]
    async with desk(tmp_path, settings(auth={"tokens": tokens})) as daemon, daemon.listening_publicly() as url:
        async with Client(url, "secret") as client:
            assert (await client.app("iris")).name == "iris"
        async with Client(url) as client:
            with pytest.raises(RequestRefused, match="a valid token is needed"):
                await client.app("iris")


@pytest.mark.slow
async def test_a_daemon_is_reached_however_deep_its_state_directory_is(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["deep" * 10] * 4)
    async with Client(f"unix://{deep}/{SOCKET}", patience=0) as client:
        with pytest.raises(Unavailable, match="deployd does not run here"):
            await client.apps()
    deep.mkdir(parents=True)
    for _ in range(2):  # the second time beside what a killed daemon would leave
        async with desk(deep) as daemon, daemon.listening() as url, Client(url) as client:
            assert [app.name for app in await client.apps()] == ["iris"]
        with socket.socket(socket.AF_UNIX) as killed, short(deep / SOCKET) as name:
            killed.bind(name)


async def test_a_daemon_that_hangs_has_a_message_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.asking._TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        async with Client(f"http://127.0.0.1:{hangs.getsockname()[1]}") as client:
            with pytest.raises(Unavailable, match="did not answer within") as refused:
                await client.apps()
    assert "systemctl status" in refused.value.hint


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        ("200 OK", "text/html", b"<html>", "is not deployd: 200 OK, text/html"),
        ("200 OK", "application/json", b"[]", "is not deployd: 200 OK, application/json"),
        ("404 Not Found", "text/html", b"<html>", "is not deployd: 404 Not Found, text/html"),
        ("301 Moved Permanently\r\nLocation: https://x.test/", "text/html", b"", "leads to https://x.test/, text/html"),
        ("502 Bad Gateway", "text/html", b"<html>", "does not answer: 502 Bad Gateway"),
    ],
)
async def test_another_server_is_told_from_deployd(
    status: str, kind: str, body: bytes, words: str, tmp_path: Path
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url, patience=0) as client:
            for ask in (client.apps, client.ready, lambda: client.backup(tmp_path / "b.db"), lambda: _all(client)):
                with pytest.raises(DaemonAway, match=re.escape(words)) as refused:
                    await ask()
                assert "DEPLOYD_URL" in refused.value.hint
    assert not (tmp_path / "b.db").exists()


async def _all(client: Client) -> list[bytes]:
    return [block async for block in client.app_log("iris")]


async def test_https_where_plain_http_is_spoken_is_told(daemon: Desk) -> None:
    async with daemon.listening_publicly() as url, Client(url.replace("http://", "https://")) as client:
        with pytest.raises(Unavailable, match="does not use TLS") as refused:
            await client.apps()
    assert "begins with http://" in refused.value.hint


@pytest.mark.parametrize("url", ["localhost:8081", "http://[", "http://a b", "", "ftp://example.com"])
async def test_a_url_that_cannot_be_used_is_an_error_with_a_hint(url: str) -> None:
    with pytest.raises(Unavailable) as refused:
        async with Client(url) as client:
            await client.apps()
    assert "DEPLOYD_URL" in refused.value.hint


async def test_the_newline_of_a_tokens_file_is_ignored_and_the_token_never_shown() -> None:
    async with Client("http://127.0.0.1:1", "tökén\n") as client:
        with pytest.raises(Unavailable) as refused:
            await client.apps()
    assert "does not answer" in refused.value.message
    assert "kén" not in refused.value.message


@pytest.mark.parametrize(
    "words",
    [
        "Server disconnected without sending a response.",
        "peer closed connection without sending complete message body (incomplete chunked read)",
    ],
)
def test_a_connection_that_breaks_is_told_in_our_words(words: str) -> None:
    message, _ = why_unreachable("http://127.0.0.1:8081", httpx.RemoteProtocolError(words))
    assert message == "deployd at http://127.0.0.1:8081 does not answer: it closed the connection"


def test_an_idle_connection_is_given_up_before_the_daemon_closes_it() -> None:
    assert inspect.signature(Server).parameters["keep_alive"].default >= 2 * KEEPS_S
