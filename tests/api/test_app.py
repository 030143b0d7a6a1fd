"""Errors as problems, and the whole API under generated requests."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from starlette.responses import PlainTextResponse

from deployd.api.app import create_api, create_app
from deployd.forges.bitbucket import Bitbucket
from deployd.forges.github import GitHub
from tests.desk import JSON, A, Desk, desk, settings

SPELLINGS = (str, "{}/".format, str.upper, lambda path: f"/{path[1:].replace('/', '//')}")


async def test_an_unknown_path_or_method_is_answered_with_a_problem(browser: httpx.AsyncClient) -> None:
    for method, path, code in (("GET", "/nowhere", 404), ("PUT", "/api/v1/apps", 405), ("GET", "/docs", 404)):
        answer = await browser.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
        assert answer.json()["status"] == code
    assert (await browser.get("/openapi.json")).status_code == 404


@pytest.mark.parametrize("path", [how(path) for path in GitHub.paths for how in SPELLINGS])
async def test_a_webhook_reaches_its_door_however_its_path_is_spelled(daemon: Desk, path: str) -> None:
    app = create_app(daemon.services, dict.fromkeys(GitHub.paths, PlainTextResponse("the door")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any.example.com") as client:
        assert (await client.post(path)).text == "the door"
        assert (await client.post(f"/x{path}")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/webhook", "/webhooks", "/github", "/github/webhook", "/api/v1/webhooks/github"]
)
@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-Gitlab-Event", "X-Forgejo-Event", "X-Event-Key"])
async def test_a_delivery_to_another_path_is_told_the_right_one_whatever_its_host(
    daemon: Desk, path: str, header: str
) -> None:
    paths = (*GitHub.paths, *Bitbucket.paths)
    app = create_app(daemon.services, dict.fromkeys(paths, PlainTextResponse("the door")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any.example.com") as client:
        answer = await client.post(path, headers={header: "push"}, json={})
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"there is nothing at {path}"
    assert answer.json()["hint"].endswith("its address ends with /webhooks/github or /webhooks/bitbucket")


async def test_a_wrong_value_is_named(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/api/v1/apps/iris/scale", json={"replicas": "many", "x": 1})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "replicas: expected a whole number; x: unknown key"


@pytest.mark.parametrize(
    ("method", "path", "options", "code"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/api/v1/apps/nope", {}, 404),
        ("GET", "/api/v1/apps/iris/deploys/9", {}, 404),
        ("GET", "/api/v1/apps/iris/deploys/9/log", {}, 404),
        ("GET", "/api/v1/events?log=iris/9", {}, 404),
        ("POST", "/api/v1/apps/iris/deploys/9/cancel", {}, 404),
        ("DELETE", "/api/v1/apps/nope", {}, 404),
        ("PUT", "/api/v1/apps", {}, 405),
        ("POST", "/api/v1/apps/iris/rollback", {}, 409),
        ("DELETE", "/api/v1/apps/iris", {}, 409),
        ("POST", "/api/v1/apps/iris/deploys", {"content": b" " * 100_000, "headers": JSON}, 413),
        ("POST", "/api/v1/apps/iris/deploys", {"content": b"{", "headers": JSON}, 422),
        ("GET", "/api/v1/apps/iris/deploys?limit=0", {}, 422),
        ("POST", "/api/v1/apps/iris/pause", {"headers": JSON | {"Origin": "null"}}, 403),
        ("GET", "/healthz", {"headers": {"Host": "evil.example.com"}}, 400),
        ("POST", "/api/v1/apps/iris/pause", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)
async def test_every_refusal_has_a_hint(
    browser: httpx.AsyncClient, method: str, path: str, options: dict[str, Any], code: int
) -> None:
    answer = await browser.request(method, path, **options)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
    assert answer.json()["hint"]


async def test_an_unavailable_remote_is_answered_503_with_retry_after(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.away = True
    answer = await browser.post("/api/v1/apps/iris/deploys")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["hint"] == "try again in a moment; GET /readyz says which part is unavailable"


async def test_a_bug_is_answered_500_without_its_text(daemon: Desk, browser: httpx.AsyncClient) -> None:
    async def broken() -> list[str]:
        raise ZeroDivisionError("hunter2")

    daemon.services.reload = broken
    answer = await browser.post("/api/v1/reload")
    assert (answer.status_code, answer.json()["detail"], "hunter2" in answer.text) == (500, "a bug in deployd", False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does, for a body of several keys
async def test_no_generated_request_breaks_the_api(tmp_path: Path) -> None:
    # It takes seconds to import: no other test waits for it.
    import schemathesis  # noqa: PLC0415
    from schemathesis.core.result import Ok  # noqa: PLC0415

    tokens = [{"name": "ci", "role": "admin", "sha256": hashlib.sha256(b"secret").hexdigest()}]
    async with desk(tmp_path, settings("iris", "rose", auth={"tokens": tokens})) as daemon:
        await daemon.deployed(A)
        daemon.target.more.set()
        described = _about_known_apps(create_api(daemon.services).openapi())
        del described["paths"]["/api/v1/events"]  # never ends, and at a terminal a command waits for a person
        del described["components"]["schemas"]["ExecAsked"]["properties"]["terminal"]
        schema = schemathesis.openapi.from_dict(described)
        async with daemon.listening_publicly() as url:
            for operation in schema.get_all_operations():
                assert isinstance(operation, Ok)
                await asyncio.to_thread(_try, operation.ok(), url)


def _try(operation: Any, url: str) -> None:
    import schemathesis  # noqa: PLC0415
    from schemathesis import checks  # noqa: PLC0415

    asked = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    cases = operation.as_strategy() | operation.as_strategy(schemathesis.GenerationMode.NEGATIVE)

    @hypothesis.settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=cases)
    def attempt(case: Any) -> None:
        headers = {"Authorization": "Bearer secret"}
        case.call_and_validate(base_url=url, timeout=20, checks=asked, headers=headers)

    attempt()


def _about_known_apps(described: dict[str, Any]) -> dict[str, Any]:
    """Let most requests name an app that there is: generated names would all be 404."""
    for operations in described["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "app":
                    parameter["schema"] = {"type": "string", "enum": ["iris", "rose", "nope", "..", "%00"]}
                if parameter["name"] in {"number", "before", "after"}:
                    parameter["schema"] = {"type": "integer", "minimum": 1, "maximum": 3}
    return described
