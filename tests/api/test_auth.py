"""Tokens, roles and requests without a token."""

import hashlib
from pathlib import Path

import httpx
import pytest

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
    ("POST", "/api/v1/apps/iris/exec", "admin"),
    ("DELETE", "/api/v1/apps/iris", "admin"),
    ("POST", "/api/v1/reload", "admin"),
    ("GET", "/api/v1/backup", "admin"),
]
BODIES = {"/api/v1/apps/iris/scale": {"replicas": 2}, "/api/v1/apps/iris/exec": {"command": ["true"]}}


async def _ask(client: httpx.AsyncClient, method: str, path: str, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await client.request(method, path, json=BODIES.get(path), headers=headers)


async def test_each_role_may_use_exactly_its_own_endpoints(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser() as client:
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
                    assert answer.status_code in {200, 202, 204, 409}, path


async def test_a_deploy_records_the_name_of_the_token_that_asked_for_it(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser("192.0.2.7") as client:
        daemon.source.remotes[REPO][MAIN] = A
        answer = await _ask(client, "POST", "/api/v1/apps/iris/deploys", "deploy-token")
        assert answer.json()["trigger"] == {"kind": "manual", "delivery": None, "by": "deployer"}


async def test_health_needs_no_token(tmp_path: Path) -> None:
    async with desk(tmp_path, settings(auth={"tokens": TOKENS})) as daemon, daemon.browser("192.0.2.7") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def test_without_tokens_only_this_machine_is_served(daemon: Desk) -> None:
    for peer, code in (("127.0.0.1", 200), ("127.9.9.9", 200), ("::1", 200), ("192.0.2.7", 401), ("", 401)):
        async with daemon.browser(peer) as client:
            assert (await client.get("/api/v1/apps")).status_code == code, peer


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_without_tokens_a_request_forwarded_by_a_local_proxy_is_refused(daemon: Desk, header: str) -> None:
    async with daemon.browser(**{header: "192.0.2.7"}) as client:
        assert (await client.get("/api/v1/apps")).status_code == 401


async def test_without_tokens_a_public_name_is_refused_even_from_this_machine(tmp_path: Path) -> None:
    data = settings(server={"base_url": "https://deployd.example.com"})
    async with desk(tmp_path, data) as daemon, daemon.browser(Host="deployd.example.com") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/api/v1/apps")).status_code == 401


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
