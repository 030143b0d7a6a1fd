import asyncio

import httpx
import pytest
from aiohttp import web

from deployd.targets.kubernetes.candidate import address_of, forwarded
from deployd.targets.kubernetes.client import Cluster
from tests.targets.kubernetes.api_server import ApiServer, refuses

PATH = "/api/v1/namespaces/ml/pods/iris-1/portforward"
POD = {"metadata": {"name": "iris-1", "namespace": "ml"}, "status": {"podIP": "10.0.0.9", "hostIP": "192.0.2.1"}}


async def pod(request: web.Request) -> web.StreamResponse:
    """Do what a kubelet does: send the port on both channels, then forward bytes, here to a program that answers HTTP."""
    assert request.query["ports"] == "5000"
    channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
    await channels.prepare(request)
    for channel in (b"\x00", b"\x01"):
        await channels.send_bytes(channel + (5000).to_bytes(2, "little"))
    asked = await channels.receive_bytes()
    assert asked.startswith(b"\x00GET /ready")
    await channels.send_bytes(b"\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nre")
    await channels.send_bytes(b"\x00ady")
    await channels.close()
    return channels


async def broken(request: web.Request) -> web.StreamResponse:
    channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
    await channels.prepare(request)
    for channel in (b"\x00", b"\x01"):
        await channels.send_bytes(channel + (5000).to_bytes(2, "little"))
    await channels.send_bytes(b"\x01connection refused")
    await channels.close()
    return channels


async def test_a_pod_is_asked_through_the_api_server(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, pod)
    async with address_of(api, POD, 5000) as address, httpx.AsyncClient(verify=False) as http:
        answers = await asyncio.gather(*(http.get(f"{address}/ready") for _ in range(3)))
    assert [answer.text for answer in answers] == ["ready"] * 3


async def test_a_pod_on_this_machine_is_asked_directly(api: Cluster) -> None:
    here = POD | {"status": {"podIP": "10.0.0.9", "hostIP": "127.0.0.1"}}
    async with address_of(api, here, 5000) as address:
        assert address == "http://10.0.0.9:5000"


@pytest.mark.parametrize("answer", [broken, refuses(403, "Forbidden", "pods/portforward is forbidden")])
async def test_a_forward_that_fails_ends_the_connection(server: ApiServer, api: Cluster, answer: object) -> None:
    server.on("GET", PATH, answer)  # type: ignore[arg-type]
    async with forwarded(api, POD, 5000) as port, httpx.AsyncClient(verify=False) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"http://127.0.0.1:{port}/ready")


async def test_no_connection_to_the_pod_outlives_the_block(server: ApiServer, api: Cluster) -> None:
    opened, ended = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        opened.set()
        await channels.receive()
        ended.set()
        return channels

    server.on("GET", PATH, silent)
    async with forwarded(api, POD, 5000) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await opened.wait()
    await asyncio.wait_for(ended.wait(), 30)
    writer.close()
