"""Requests that the guard refuses before the API sees them."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.desk import JSON, Desk, desk, settings

PAUSE = "/api/v1/apps/iris/pause"


async def _status(daemon: Desk, host: str) -> int:
    async with daemon.browser(Host=host) as client:
        return (await client.get("/healthz")).status_code


async def test_only_known_hosts_are_served(tmp_path: Path) -> None:
    server = {"base_url": "https://deployd.example.com/x", "allowed_hosts": ["ci.example.com", "*.lan.example.com"]}
    async with desk(tmp_path, settings(server=server)) as daemon:
        for host in ("localhost", "LOCALHOST:8081", "127.0.0.1:1", "[::1]:8081", "deployd.example.com"):
            assert await _status(daemon, host) == 200, host
        for host in ("ci.example.com", "a.lan.example.com:80"):
            assert await _status(daemon, host) == 200, host
        for host in (
            "evil.example.com",
            "lan.example.com",
            "localhost.evil.example.com",
            "192.0.2.7",
            "a b",
            "",
            "[::1",
        ):
            assert await _status(daemon, host) == 400, host
        for host in ("localhost:port", "localhost@evil.example.com", "evil.example.com/localhost"):
            assert await _status(daemon, host) == 400, host


async def test_a_request_with_two_host_headers_is_refused(daemon: Desk) -> None:
    async with daemon.browser() as client:
        request = client.build_request("GET", "/healthz")
        request.headers = httpx.Headers([("host", "localhost"), ("host", "localhost")])
        assert (await client.send(request)).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
async def test_a_page_of_another_site_cannot_change_anything(
    browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await browser.post(PAUSE, headers=JSON | headers)).status_code == 403
    assert (await browser.get("/api/v1/apps/iris")).json()["paused"] is False


async def test_our_own_page_can_change_things(browser: httpx.AsyncClient) -> None:
    headers = JSON | {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
    assert (await browser.post(PAUSE, headers=headers)).status_code == 200


async def test_our_own_page_can_change_things_behind_a_proxy_that_changes_the_host(tmp_path: Path) -> None:
    data = settings(server={"base_url": "https://deployd.example.com"})
    async with desk(tmp_path, data) as daemon, daemon.browser() as client:
        for origin, code in (
            ("https://deployd.example.com", 200),
            ("https://deployd.example.com.evil.example.com", 403),
        ):
            assert (await client.post(PAUSE, headers=JSON | {"Origin": origin})).status_code == code


async def test_a_browsers_fetch_metadata_counts_whatever_host_a_proxy_sends(
    browser: httpx.AsyncClient,
) -> None:
    headers = JSON | {"Sec-Fetch-Site": "same-origin", "Origin": "https://deployd.example.com"}
    assert (await browser.post(PAUSE, headers=headers)).status_code == 200


async def test_a_form_is_taken_only_by_the_pages_and_only_from_a_page(browser: httpx.AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    ours = form | {"Sec-Fetch-Site": "same-origin"}
    assert (await browser.post("/apps/iris/pause", headers=ours)).status_code == 303
    assert (await browser.post(PAUSE, headers=ours)).status_code == 415
    for headers in ({}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        assert (await browser.post("/apps/iris/resume", headers=form | headers)).status_code == 403, headers
    assert (await browser.post("/apps/iris/resume", headers=form | {"Origin": "http://localhost"})).status_code == 303
    large = {**ours, "Content-Length": str(100_000)}
    assert (await browser.post("/apps/iris/deploy", content=b"a" * 100_000, headers=large)).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_content_types_that_an_html_form_can_send_are_refused(browser: httpx.AsyncClient, kind: str) -> None:
    assert (await browser.post(PAUSE, content=b"{}", headers={"Content-Type": kind})).status_code == 415
    assert (await browser.post(PAUSE, headers={"Content-Type": kind})).status_code == 415


async def test_a_body_needs_a_content_type_and_an_empty_request_does_not(browser: httpx.AsyncClient) -> None:
    assert (await browser.post(PAUSE, content=b"{}")).status_code == 415
    assert (await browser.post(PAUSE)).status_code == 200


async def test_a_large_body_is_refused(browser: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1000

    deploys = "/api/v1/apps/iris/deploys"
    assert (await browser.post(deploys, content=b" " * 100_000, headers=JSON)).json()["status"] == 413
    assert (await browser.post(deploys, content=endless(), headers=JSON)).json()["status"] == 413


async def test_every_answer_forbids_sniffing_and_framing(browser: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nowhere", "/api/v1/apps"):
        headers = (await browser.get(path)).headers
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
