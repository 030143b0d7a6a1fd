"""Login by token, the cookie, logout, and what a browser without a login gets."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployd.api.pages.login import local
from deployd.config.daemon import Auth
from tests.api.pages.given import FORM, HEADERS, secured, secured_desk
from tests.desk import Desk, config_of, desk, settings


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Desk]:
    """A daemon with tokens."""
    async with secured_desk(tmp_path) as running:
        yield running


@pytest.fixture
async def client(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A browser from elsewhere, over TCP."""
    async with daemon.browser("192.0.2.7", **HEADERS) as made:
        yield made


async def _log_in(client: httpx.AsyncClient, given: str = "ada-token", **fields: str) -> httpx.Response:
    return await client.post("/login", data={"token": given, **fields}, headers=FORM)


async def test_a_person_who_is_not_logged_in_is_led_to_the_login_and_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/apps/iris?before=7")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fapps%2Firis%3Fbefore%3D7")
    form = await client.get(answer.headers["location"])
    assert form.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert 'name="next" value="/apps/iris?before=7"' in form.text
    answer = await _log_in(client, next="/apps/iris?before=7")
    assert (answer.status_code, answer.headers["location"]) == (303, "/apps/iris?before=7")
    assert (await client.get("/apps/iris")).status_code == 200
    assert (await client.get("/api/v1/apps")).status_code == 200


async def test_the_cookie_holds_nothing_but_a_name_and_is_kept_from_scripts_and_other_sites(
    client: httpx.AsyncClient, daemon: Desk
) -> None:
    plain = (await _log_in(client)).headers["set-cookie"]
    assert plain.startswith("deployd=")
    assert "HttpOnly" in plain
    assert "SameSite=strict" in plain
    assert "Secure" not in plain
    safe = await client.post("/login", data={"token": "ada-token"}, headers=FORM | {"Origin": "https://localhost"})
    cookie = safe.headers["set-cookie"]
    assert cookie.startswith("__Host-deployd=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "ada" not in cookie
    stored = (daemon.directory / "deployd.db-wal").read_bytes()
    assert cookie.partition("=")[2].partition(";")[0].encode() not in stored


async def test_a_wrong_token_says_so_and_gives_no_cookie(client: httpx.AsyncClient) -> None:
    answer = await _log_in(client, "ada-toke")
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "This is not a token of deployd." in answer.text


async def test_after_wrong_tokens_even_a_right_one_has_to_wait(client: httpx.AsyncClient, daemon: Desk) -> None:
    for _ in range(5):
        assert (await _log_in(client, "guess")).status_code == 401
    answer = await _log_in(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    async with daemon.browser("192.0.2.8", **HEADERS) as other:
        assert (await _log_in(other)).status_code == 303


async def test_a_login_ends_by_logout_also_for_a_copied_cookie(client: httpx.AsyncClient, daemon: Desk) -> None:
    await _log_in(client)
    async with daemon.browser("192.0.2.8", **HEADERS) as thief:
        thief.cookies = httpx.Cookies(client.cookies)
        assert (await thief.get("/apps/iris")).status_code == 200
        answer = await client.post("/logout", headers=FORM)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert (await thief.get("/apps/iris")).status_code == 303
    assert "deployd" not in client.cookies


async def test_a_new_login_gets_a_new_name_and_ends_the_former(client: httpx.AsyncClient) -> None:
    await _log_in(client)
    former = client.cookies["deployd"]
    await _log_in(client)
    assert client.cookies["deployd"] != former
    client.cookies.set("deployd", former)
    async with httpx.AsyncClient(transport=client._transport, base_url="http://localhost", headers=HEADERS) as old:
        old.cookies.set("deployd", former)
        assert (await old.get("/apps/iris")).status_code == 303


async def test_removing_the_token_ends_its_logins_and_a_new_role_holds_at_once(
    client: httpx.AsyncClient, daemon: Desk
) -> None:
    await _log_in(client)
    data = secured()
    data["auth"]["tokens"][1]["role"] = "read"
    daemon.services.running.replace(config_of(data | {"server": {"state_dir": str(daemon.directory)}}))
    assert (await client.post("/apps/iris/pause", headers=FORM)).status_code == 404
    config = daemon.services.config
    daemon.services.running.replace(config.model_copy(update={"auth": Auth()}))
    assert (await client.get("/apps/iris")).status_code == 303


@pytest.mark.parametrize(("column", "hours"), [("seen_at", 9), ("began_at", 24 * 7 + 1)])
async def test_a_login_ends_when_it_is_unused_or_old(
    client: httpx.AsyncClient, daemon: Desk, column: str, hours: int
) -> None:
    await _log_in(client)
    change = f"UPDATE sessions SET {column} = {column} - ?"  # noqa: S608 - two columns
    await daemon.store._database.write(lambda connection: connection.execute(change, (hours * 3600,)).rowcount)
    assert (await client.get("/apps/iris")).status_code == 303


async def test_a_login_that_is_used_lasts_on(client: httpx.AsyncClient, daemon: Desk) -> None:
    await _log_in(client)
    change = "UPDATE sessions SET seen_at = seen_at - ?"
    for _ in range(3):
        await daemon.store._database.write(lambda connection: connection.execute(change, (7 * 3600,)).rowcount)
        assert (await client.get("/apps/iris")).status_code == 200


async def test_the_cookie_changes_nothing_unless_a_page_of_ours_sends_the_request(
    client: httpx.AsyncClient, daemon: Desk
) -> None:
    await _log_in(client)
    async with daemon.browser("192.0.2.7", Accept="text/html") as other:
        other.cookies = httpx.Cookies(client.cookies)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        for headers in ({}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert (await other.post("/apps/iris/pause", headers=kind | headers)).status_code == 403, headers
        answer = await other.post("/api/v1/apps/iris/pause")
        assert answer.status_code == 401
        assert (await other.post("/apps/iris/pause", headers=kind | {"Origin": "http://localhost"})).status_code == 303
    assert (await daemon.store.state("iris")).paused_by == "ada"


async def test_a_link_on_another_site_gets_a_page_of_ours_that_asks_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/apps/iris?x=%22", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/apps/iris?x=%22">' in answer.text
    assert "no-store" in answer.headers["cache-control"]
    assert (await client.get("/apps/iris", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303


async def test_a_page_that_asks_for_its_live_parts_learns_that_its_login_has_ended(client: httpx.AsyncClient) -> None:
    assert (await client.get("/", headers={"HX-Request": "true"})).status_code == 401


async def test_without_tokens_the_login_says_how_to_make_one(tmp_path: Path) -> None:
    async with desk(tmp_path, settings()) as daemon, daemon.browser("192.0.2.7", **HEADERS) as client:
        answer = await client.get("/login")
        assert "deployd token new NAME --role admin" in answer.text
        assert "<form" not in answer.text
        assert (await _log_in(client, "")).status_code == 401


@pytest.mark.parametrize(
    ("base_url", "headers", "warned"),
    [
        ("", {}, False),  # localhost
        ("", {"Host": "192.0.2.1"}, True),
        ("", {"Host": "192.0.2.1", "X-Forwarded-Proto": "https"}, False),
        ("https://192.0.2.1", {"Host": "192.0.2.1"}, False),
    ],
)
async def test_the_login_warns_when_the_page_came_without_encryption(
    tmp_path: Path, base_url: str, headers: dict[str, str], warned: bool
) -> None:
    server = {"base_url": base_url, "allowed_hosts": ["*"]}
    async with secured_desk(tmp_path, server=server) as daemon, daemon.browser("127.0.0.1", **HEADERS) as client:
        answer = await client.get("/login", headers=headers)
        assert ("without encryption" in answer.text) is warned


async def test_whoever_may_use_the_unix_socket_needs_no_login(daemon: Desk) -> None:
    async with daemon.browser(**HEADERS) as client:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert "Log out" not in answer.text


@pytest.mark.parametrize(
    ("path", "led"),
    [
        ("/apps/iris?before=3", "/apps/iris?before=3"),
        ("//evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("https://evil.example.com/", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("/login", "/"),
        ("", "/"),
    ],
)
def test_a_login_leads_only_to_pages_of_ours(path: str, led: str) -> None:
    assert local(path) == led
