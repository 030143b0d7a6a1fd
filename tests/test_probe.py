import asyncio
from contextlib import suppress
from typing import Any

import pytest

from deployd.config.app import App, Ready
from deployd.errors import RolloutFailed
from deployd.probe import headers_of, pause, said_commit, until_ready


@pytest.mark.parametrize(
    ("body", "commit"),
    [
        ('{"commit": "c0ffee", "version": 1}', "c0ffee"),
        ("c0ffee\n", "c0ffee"),
        ('"c0ffee"', "c0ffee"),
        ("{}", ""),
        ("[1]", "[1]"),
        ("1234567", "1234567"),
        ("", ""),
    ],
)
def test_a_commit_is_found_in_json_and_in_plain_text(body: str, commit: str) -> None:
    assert said_commit(body) == commit


@pytest.mark.parametrize(
    ("waited", "every", "expected"),
    [(0.0, 0.25, 0.01), (0.05, 0.25, 0.01), (1.0, 0.25, 0.1), (60.0, 0.25, 0.25), (0, 0.005, 0.005)],
)
def test_a_release_is_asked_often_at_first_and_then_every_so_often(
    waited: float, every: float, expected: float
) -> None:
    assert pause(waited, every) == pytest.approx(expected)


@pytest.mark.slow
async def test_the_user_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    with pytest.raises(RolloutFailed, match="/: connection refused"):
        await until_ready("http://127.0.0.1:1", Ready(path="/", within="1s"), None, {})


def _app(**sections: Any) -> App:
    app = {"name": "iris", "repo": "https://example.com/a/iris", "branch": "main", "gateway": {"listen": 8000}}
    return App.model_validate({**app, **sections})


HOSTS = {"hosts": ["*.example.com", "iris.example.com", "other.example.com"]}


@pytest.mark.parametrize(
    ("sections", "secure", "headers"),
    [
        ({}, True, {"X-Forwarded-Proto": "http"}),
        ({"gateway": HOSTS}, False, {"Host": "iris.example.com", "X-Forwarded-Proto": "http"}),
        ({"gateway": HOSTS}, True, {"Host": "iris.example.com", "X-Forwarded-Proto": "https"}),
        ({"gateway": HOSTS, "ready": {"host": "x:81"}}, False, {"Host": "x:81", "X-Forwarded-Proto": "http"}),
        (
            {"ready": {"headers": {"X-Forwarded-Proto": "https", "A": "b"}}},
            False,
            {"X-Forwarded-Proto": "https", "A": "b"},
        ),
    ],
)
def test_a_release_is_asked_as_the_gateway_would_ask_it(
    sections: dict[str, Any], secure: bool, headers: dict[str, str]
) -> None:
    assert headers_of(_app(**sections), secure=secure) == headers


@pytest.mark.parametrize(
    ("scheme", "hint"), [("https", ""), ("http", '; headers = { X-Forwarded-Proto = "https" } in [app.ready] says')]
)
async def test_the_headers_reach_the_release_and_a_redirect_says_where_to(scheme: str, hint: str) -> None:
    heads: list[str] = []
    served: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with suppress(EOFError):  # the last request is given up
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            head = b"HTTP/1.1 301 -\r\nLocation: https://iris.example.com/ready/\r\n"
            writer.write(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        headers = {"Host": "iris.example.com", "X-Forwarded-Proto": scheme}
        with pytest.raises(RolloutFailed) as failed:
            await until_ready(address, Ready(path="/ready", within="200ms"), None, headers)
        await asyncio.gather(*(task for task in served if task is not None), return_exceptions=True)
    assert f"/ready: 301: redirects to https://iris.example.com/ready/{hint}" in failed.value.message
    assert "host: iris.example.com\r\n" in heads[0].lower()
    assert f"x-forwarded-proto: {scheme}\r\n" in heads[0].lower()
