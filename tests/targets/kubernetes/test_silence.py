"""Why a pod is silent, asked through a server that runs the command."""

import asyncio

import pytest
from aiohttp import web

from deployd.targets.kubernetes import silence
from deployd.targets.kubernetes.client import Cluster
from tests.targets.kubernetes.api_server import ApiServer, refuses, says
from tests.targets.kubernetes.objects import a_deployment
from tests.targets.kubernetes.test_deployment import PATH, placed
from tests.targets.kubernetes.test_execute import POD, speaks

LISTENS = (
    b"\x01  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    b"   0: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1\n"
)


async def test_an_app_at_another_port_is_told_with_both_ports(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_deployment()))
    server.on("GET", f"{POD}/exec", speaks(LISTENS, b'\x03{"status": "Success"}'))
    found = await silence.find(placed(api, port=9090), "iris-1")
    assert found is not None
    assert found.reason == "the app listens on 8081, [app.kubernetes] port is 9090"


async def test_without_the_right_to_run_commands_nobody_can_tell(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_deployment()))
    server.on("GET", f"{POD}/exec", refuses(403, "Forbidden", "no"))
    assert await silence.find(placed(api), "iris-1") is None


async def test_a_node_that_hangs_does_not_hold_up_the_return(
    server: ApiServer, api: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        await channels.receive()
        return channels

    monkeypatch.setattr(silence, "_WITHIN_S", 0.2)
    server.on("GET", PATH, says(a_deployment()))
    server.on("GET", f"{POD}/exec", hangs)
    async with asyncio.timeout(10):
        assert await silence.find(placed(api), "iris-1") is None
