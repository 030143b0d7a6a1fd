import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from deployd.errors import ConfigError, Unavailable
from deployd.targets.kubernetes.client import Cluster
from tests.targets.kubernetes.api_server import ApiServer, refuses, says

PATH = "/apis/apps/v1/namespaces/ml/deployments/iris"


async def test_expired_credentials_are_read_again(server: ApiServer, api: Cluster) -> None:
    async def only_second(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Bearer second":
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response({"kind": "x"})

    server.on("GET", PATH, only_second)
    server.give_token("second")
    assert await api.get(PATH) == {"kind": "x"}


async def test_credentials_that_stay_wrong_raise_unavailable(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(401, "Unauthorized", "no"))
    with pytest.raises(Unavailable, match="401"):
        await api.get(PATH)
    assert len(server.asked) == 2


async def test_a_missing_kubeconfig_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="credentials cannot be read"):
        async with Cluster(str(tmp_path / "nothing")):
            pass


async def test_many_requests_survive_a_renewal_of_the_credentials(server: ApiServer, api: Cluster) -> None:
    async def only_second(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Bearer second":
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response({"kind": "x"})

    server.on("GET", PATH, only_second)
    server.give_token("second")
    answers = await asyncio.gather(*(api.get(PATH) for _ in range(20)))
    assert answers == [{"kind": "x"}] * 20


async def test_a_single_failed_renewal_of_the_credentials_is_temporary(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(401, "Unauthorized", "expired"), says({"kind": "x"}))
    good = server.kubeconfig.read_text()
    server.kubeconfig.write_text("")
    with pytest.raises(Unavailable, match="credentials cannot be read"):
        await api.get(PATH)
    server.kubeconfig.write_text(good)
    assert await api.get(PATH) == {"kind": "x"}


async def test_expired_credentials_of_a_websocket_are_read_again(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(401, "Unauthorized", "Unauthorized"))
    with pytest.raises(Unavailable, match="401"):
        async with api.socket(PATH, []):
            pass
