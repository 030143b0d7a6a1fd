import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from deployd.errors import Unavailable
from deployd.targets.kubernetes.answers import Gone, Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.notices import told_to
from tests.targets.kubernetes.api_server import ApiServer, lines, refuses, says
from tests.testbed import certificates

PATH = "/apis/apps/v1/namespaces/ml/deployments/iris"


async def test_an_object_is_returned_as_plain_json(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says({"kind": "Deployment", "odd": None}))
    assert await api.get(PATH) == {"kind": "Deployment", "odd": None}
    assert server.asked[0].headers["Authorization"] == "Bearer first"
    assert server.asked[0].headers["User-Agent"] == "deployd"


async def test_a_missing_object_is_none(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(404, "NotFound", "not found"))
    assert await api.find(PATH) is None
    with pytest.raises(Refused, match="not found"):
        await api.get(PATH)


async def test_a_forbidden_request_names_the_role(server: ApiServer, api: Cluster) -> None:
    server.on(
        "GET",
        PATH,
        refuses(403, "Forbidden", 'deployments "iris" is forbidden: User "ci" cannot get resource "deployments"'),
    )
    with pytest.raises(Refused, match="is forbidden") as caught:
        await api.find(PATH)
    assert caught.value.status == 403
    assert "Role" in caught.value.hint


async def test_each_kind_of_patch_has_its_content_type(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, says({}))
    await api.patch(PATH, [{"op": "test", "path": "/a", "value": 1}])
    await api.merge(PATH, {"metadata": {"annotations": {"a": None}}})
    await api.apply(PATH, {"kind": "Deployment"}, force=True)
    assert [request.headers["Content-Type"] for request in server.asked] == [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
    ]
    assert {request.query["fieldManager"] for request in server.asked} == {"deployd"}
    assert server.asked[2].query["force"] == "true"
    assert server.bodies[1] == {"metadata": {"annotations": {"a": None}}}


async def test_a_refusal_that_comes_in_pieces_is_read_whole(server: ApiServer, api: Cluster) -> None:
    words = 'admission webhook "validate.kyverno.svc-fail" denied the request: the label team is required'
    said = json.dumps({"kind": "Status", "reason": "Invalid", "message": words}).encode()

    async def in_pieces(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=422)
        answer.content_length = len(said)
        await answer.prepare(request)
        await answer.write(said[:40])
        await asyncio.sleep(0.05)  # the pieces are two reads of the client
        await answer.write(said[40:])
        return answer

    server.on("GET", PATH, in_pieces)
    with pytest.raises(Refused) as caught:
        await api.get(PATH)
    assert (caught.value.message, caught.value.reason) == (words, "Invalid")


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_temporary_error_is_tried_again(server: ApiServer, api: Cluster, status: int) -> None:
    server.on("GET", PATH, refuses(status, "Busy", "later"), refuses(status, "Busy", "later"), says({"kind": "x"}))
    assert await api.get(PATH) == {"kind": "x"}
    assert len(server.asked) == 3


async def test_a_lasting_error_raises_unavailable(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, refuses(503, "ServiceUnavailable", "etcd is away"))
    with pytest.raises(Unavailable, match="etcd is away"):
        await api.merge(PATH, {}, within=0.5)


async def test_an_html_page_of_a_proxy_raises_unavailable(server: ApiServer, api: Cluster) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>sign in</html>", content_type="text/html")

    server.on("PATCH", PATH, page)
    with pytest.raises(Unavailable):
        await api.merge(PATH, {}, within=0.1)


async def test_an_expired_watch_version_has_its_own_error(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(410, "Expired", "too old"))
    with pytest.raises(Gone):
        await api.get(PATH)


async def test_deleting_a_missing_object_is_no_error(server: ApiServer, api: Cluster) -> None:
    server.on("DELETE", PATH, refuses(404, "NotFound", "not found"))
    await api.delete(PATH)
    assert server.asked[0].query["propagationPolicy"] == "Background"


async def test_followed_logs_leave_connections_for_a_rollout(server: ApiServer, api: Cluster) -> None:
    server.on("GET", f"{PATH}/log", lines(hold=True))
    server.on("GET", PATH, says({"kind": "x"}))
    async with AsyncExitStack() as stack:
        for _ in range(110):
            await stack.enter_async_context(api.stream(f"{PATH}/log", {}, None))
        async with asyncio.timeout(10):
            assert await api.get(PATH) == {"kind": "x"}


async def test_a_websocket_goes_through_the_proxy_of_the_kubeconfig(server: ApiServer, tmp_path: Path) -> None:
    said = json.loads(server.kubeconfig.read_text())
    said["clusters"][0]["cluster"] = {"server": "http://cluster.invalid", "proxy-url": f"http://{server.address}"}
    server.kubeconfig.write_text(json.dumps(said))

    async def hello(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        await channels.send_bytes(b"hello")
        await channels.close()
        return channels

    server.on("GET", PATH, hello)
    async with Cluster(str(server.kubeconfig)) as api, api.socket(PATH, []) as channels:
        assert await channels.receive_bytes() == b"hello"


async def test_a_warning_of_the_server_is_given_once_to_the_deploy_that_caused_it(
    server: ApiServer, api: Cluster
) -> None:
    header = r'299 - "would violate PodSecurity \"restricted:latest\": runAsNonRoot != true"'
    server.on("PATCH", PATH, says({}, headers={"Warning": header}))
    told: list[str] = []
    with told_to(told.append):
        await api.apply(PATH, {}, force=False)
        await api.apply(PATH, {}, force=True)
    assert told == ['warning: would violate PodSecurity "restricted:latest": runAsNonRoot != true\n']


async def test_a_warning_of_a_dry_run_is_dropped(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, says({}, headers={"Warning": '299 - "deprecated"'}))
    told: list[str] = []
    with told_to(told.append):
        await api.apply(PATH, {}, force=True, only_tell=True)
    assert told == []


async def test_outside_of_a_deploy_the_daemons_log_gets_the_warning(
    server: ApiServer, api: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("PATCH", PATH, says({}, headers={"Warning": '299 - "deprecated"'}))
    await api.merge(PATH, {})
    assert [record.getMessage() for record in caplog.records] == ["deprecated"]


async def test_a_refused_websocket_keeps_what_the_server_says(server: ApiServer, api: Cluster) -> None:
    words = (
        'pods "iris-1" is forbidden: User "ci" cannot create resource "pods/exec" in API group "" in the namespace "ml"'
    )
    server.on("GET", PATH, refuses(403, "Forbidden", words))
    with pytest.raises(Refused) as caught:
        async with api.socket(PATH, []):
            pass
    assert (caught.value.status, caught.value.message) == (403, words)
    assert "Role" in caught.value.hint


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[Path]:
    """The kubeconfig of a server over TLS that opens a WebSocket, and has a log without an end."""

    async def hello(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        await channels.receive()
        return channels

    async def log(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"hello\n")
        await asyncio.Event().wait()
        return answer

    certificates.make(tmp_path, ["127.0.0.1"], [])
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
    served = web.Application()
    served.router.add_get(PATH, hello)
    served.router.add_get(f"{PATH}/log", log)
    runner = web.AppRunner(served, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust).start()
    server = {
        "server": f"https://127.0.0.1:{runner.addresses[0][1]}",
        "certificate-authority": str(tmp_path / "ca.crt"),
    }
    written = {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "test", "user": {"token": "first"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(written))
    yield tmp_path / "kubeconfig"
    await runner.cleanup()


async def test_after_a_websocket_nothing_of_its_connection_is_left(tls: Path) -> None:
    """The end of TLS takes a moment more, for which aiohttp does not wait."""
    async with Cluster(str(tls)) as api:
        async with api.socket(PATH, []) as channels:
            connection = channels.get_extra_info("socket")
            assert connection.fileno() >= 0
        assert connection.fileno() == -1


async def test_after_a_stream_that_is_left_nothing_of_its_connection_is_left(tls: Path) -> None:
    async with Cluster(str(tls)) as api:
        before = _sockets()
        async with api.stream(f"{PATH}/log", {}, None) as lines:
            assert await lines.readline() == b"hello\n"
            opened = _sockets() - before
            assert len(opened) == 2  # the server's end is in this process too
        assert len(opened & _sockets()) <= 1


async def test_a_stream_is_left_at_once_under_the_loop_of_the_daemon(tls: Path) -> None:
    async def leave() -> None:
        async with Cluster(str(tls)) as api, asyncio.timeout(5), api.stream(f"{PATH}/log", {}, None) as lines:
            assert await lines.readline() == b"hello\n"

    await asyncio.to_thread(lambda: uvloop.run(leave()))


def _sockets() -> set[str]:
    """The sockets of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("socket:")}
