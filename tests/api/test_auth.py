"""Tokens, roles, and the accounts that use the Unix socket."""

import hashlib
import os
import pwd
from pathlib import Path

import httpx
import pytest

from deployd.api import auth
from deployd.client import Client
from tests.desk import MAIN, REPO, A, Desk, desk, settings

ROLES = ("read", "deploy", "admin")
TOKENS = [
    {"name": f"{role}er", "role": role, "sha256": hashlib.sha256(f"{role}-token".encode()).hexdigest()}
    for role in ROLES
]
NEEDS = [
    ("GET", "/", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/apps/iris/badge.svg", "read"),
    ("GET", "/api/v1/apps", "read"),
    ("GET", "/api/v1/apps/iris", "read"),
    ("GET", "/api/v1/apps/iris/deploys", "read"),
    ("GET", "/api/v1/apps/iris/deploys/1", "read"),
    ("GET", "/api/v1/apps/iris/deploys/1/log", "read"),
    ("GET", "/api/v1/apps/iris/describe", "read"),
    ("GET", "/api/v1/apps/iris/log", "read"),
    ("POST", "/api/v1/apps/iris/deploys", "deploy"),
    ("POST", "/api/v1/apps/iris/rollback", "deploy"),
    ("POST", "/api/v1/apps/iris/pause", "deploy"),
    ("POST", "/api/v1/apps/iris/resume", "deploy"),
    ("POST", "/api/v1/apps/iris/scale", "deploy"),
    ("POST", "/api/v1/apps/iris/deploys/1/cancel", "deploy"),
    ("POST", "/api/v1/prune", "deploy"),
    ("POST", "/api/v1/apps/iris/exec", "admin"),
    ("POST", "/api/v1/terminals/x", "admin"),
    ("DELETE", "/api/v1/apps/iris", "admin"),
    ("POST", "/api/v1/reload", "admin"),
    ("POST", "/api/v1/notify/test", "admin"),
    ("GET", "/api/v1/backup", "admin"),
]
BODIES = {
    "/api/v1/terminals/x": {},
    "/api/v1/apps/iris/scale": {"replicas": 2},
    "/api/v1/apps/iris/exec": {"command": ["true"]},
}


async def _ask(client: httpx.AsyncClient, method: str, path: str, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await client.request(method, path, json=BODIES.get(path), headers=headers)


async def test_each_role_may_use_exactly_its_own_endpoints(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser("127.0.0.1") as client:
        await daemon.deployed(A)
        for method, path, needed in NEEDS:
            for token in (None, "", "wrong", "read-toke"):
                answer = await _ask(client, method, path, token)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
            for role in ROLES:
                answer = await _ask(client, method, path, f"{role}-token")
                if ROLES.index(role) < ROLES.index(needed):
                    doing = "deploying" if needed == "deploy" else "this"
                    said = f"this token has role {role}; {doing} needs role {needed}"
                    assert (answer.status_code, answer.json()["detail"]) == (404, said), path
                else:
                    assert answer.status_code in {200, 202, 204, 409} or "no such terminal" in answer.text, path


async def test_a_deploy_records_the_name_of_the_token_that_asked_for_it(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser("192.0.2.7") as client:
        daemon.source.remotes[REPO][MAIN] = A
        answer = await _ask(client, "POST", "/api/v1/apps/iris/deploys", "deploy-token")
        assert answer.json()["trigger"] == {"kind": "manual", "delivery": None, "by": "deployer"}


async def test_health_needs_no_token(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser("192.0.2.7") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.7"])
async def test_without_tokens_nobody_may_use_the_api_over_tcp(daemon: Desk, peer: str) -> None:
    await daemon.deployed(A)
    async with daemon.browser(peer) as client:
        for method, path, _ in NEEDS:
            answer = await _ask(client, method, path, None)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
            assert "deployd token new" in answer.json()["hint"]
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("tokens", [[], TOKENS], ids=["no tokens", "tokens"])
async def test_whoever_may_use_the_unix_socket_may_do_everything(tmp_path: Path, tokens: list[dict[str, str]]) -> None:
    async with desk(tmp_path, settings(auth={"tokens": tokens})) as daemon, daemon.browser() as client:
        await daemon.deployed(A)
        for method, path, _ in NEEDS:
            answer = await _ask(client, method, path, None)
            assert answer.status_code in {200, 202, 204, 409} or "no such terminal" in answer.text, path


async def test_a_deploy_records_the_account_that_asked_for_it_at_the_unix_socket(tmp_path: Path) -> None:
    async with desk(tmp_path) as daemon, daemon.listening() as url, Client(url) as client:
        daemon.source.remotes[REPO][MAIN] = A
        assert (await client.deploy("iris")).trigger.by == pwd.getpwuid(os.getuid()).pw_name


def test_an_account_without_a_name_is_known_by_its_number() -> None:
    assert auth._account(4_000_000_000) == "uid 4000000000"


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.9, 127.0.0.1", "203.0.113.9"),
    ],
)
async def test_a_refusal_is_logged_with_the_forwarded_address_only_behind_a_trusted_proxy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, peer: str, forwarded: str, told: str
) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser(peer, **headers) as client:
        await client.get("/api/v1/apps", headers={"Authorization": "Bearer guess"})
    assert f"Refused a request from {told}: wrong token" in caplog.text
    assert "guess" not in caplog.text
