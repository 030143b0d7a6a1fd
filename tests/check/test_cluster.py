"""What `deployd check` finds of an account's rights on a cluster, from the answers of an API server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deployd.check.check import _cluster
from deployd.check.finding import Finding
from deployd.config.daemon import Config
from tests.targets.kubernetes.api_server import ApiServer, api_server, says

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
Rights = Callable[[dict[str, Any]], bool]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        running.on("GET", "/version", says({"minor": "36"}))
        yield running


async def found(server: ApiServer, tmp_path: Path, may: Rights) -> list[Finding]:
    """The findings for an app on a cluster whose account may do what `may` says."""

    async def review(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["spec"]["resourceAttributes"]
        return web.json_response({"status": {"allowed": may(asked)}}, status=201)

    server.on("POST", REVIEW, review)
    written = {
        "server": {"state_dir": str(tmp_path)},
        "registry": {"url": "registry.example.com"},
        "app": [
            {
                "name": "iris",
                "repo": "https://example.com/acme/iris.git",
                "branch": "main",
                "target": "kubernetes",
                "kubernetes": {"namespace": "ml", "kubeconfig": str(server.kubeconfig)},
            }
        ],
    }
    return [finding async for finding in _cluster(Config.model_validate(written))]


async def test_an_account_that_may_do_all_is_well(server: ApiServer, tmp_path: Path) -> None:
    (only,) = await found(server, tmp_path, lambda _: True)
    assert (only.what, only.verdict) == ("cluster", "ok")


async def test_a_role_of_before_kubernetes_1_35_cannot_run_commands_and_is_told_the_verb(
    server: ApiServer, tmp_path: Path
) -> None:
    _, lacking = await found(
        server, tmp_path, lambda asked: (asked["subresource"], asked["verb"]) != ("exec", "create")
    )
    assert lacking.verdict == "warning"
    assert "`deployd exec`" in lacking.detail
    assert lacking.detail.endswith("may not: create pods/exec")
    assert "role-exec.yaml" in lacking.hint


async def test_a_role_that_reads_no_logs_is_wrong(server: ApiServer, tmp_path: Path) -> None:
    _, lacking = await found(server, tmp_path, lambda asked: asked["subresource"] != "log")
    assert (lacking.verdict, lacking.detail) == ("wrong", "the account on the cluster may not: get pods/log")
    assert lacking.hint == "bind the Role in kubernetes/role.yaml to its account, in the namespace of the app"


async def test_an_account_outside_of_the_cluster_that_opens_no_port_of_a_pod_is_told_what_no_role_of_the_base_has(
    server: ApiServer, tmp_path: Path
) -> None:
    _, lacking = await found(server, tmp_path, lambda asked: asked["subresource"] != "portforward")
    assert (lacking.verdict, lacking.hint) == (
        "wrong",
        "add pods/portforward to the Role: deployd needs it outside of the cluster",
    )
