import json

import pytest
from aiohttp import web

from deployd.domain import Image
from deployd.errors import RequestRefused, Unavailable
from deployd.ports.gate import Candidate
from deployd.targets.kubernetes import execute, reading
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.terminal import Size, Terminal
from tests.targets.kubernetes.api_server import Answer, ApiServer, a_list, refuses, says
from tests.targets.kubernetes.apps import a_deploy, an_app
from tests.targets.kubernetes.follower import APPS, CORE
from tests.targets.kubernetes.objects import OLD, a_deployment, a_pod, a_replica_set
from tests.targets.kubernetes.test_deployment import PATH

POD = "/api/v1/namespaces/ml/pods/iris-1"


def speaks(*messages: bytes) -> Answer:
    """Take the WebSocket and send those messages."""

    async def answer(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        for message in messages:
            await channels.send_bytes(message)
        await channels.close()
        return channels

    return answer


def exited(code: int) -> bytes:
    cause = {"reason": "ExitCode", "message": str(code)}
    return b"\x03" + json.dumps({"status": "Failure", "details": {"causes": [cause]}}).encode()


async def run(api: Cluster, terminal: Terminal | None = None) -> tuple[int, bytes]:
    said: list[bytes] = []

    async def out(data: bytes) -> None:
        said.append(data)

    return await execute.run(api, POD, "iris", ["echo", "a b"], out, terminal), b"".join(said)


async def test_output_and_exit_code_are_passed_on_unchanged(server: ApiServer, api: Cluster) -> None:
    half, other = "é".encode()[:1], "é".encode()[1:]
    server.on("GET", f"{POD}/exec", speaks(b"\x01", b"\x01" + half, b"\x02oops", b"\x01" + other, exited(7)))
    assert await run(api) == (7, half + b"oops" + other)
    asked = server.asked[0]
    assert asked.query.getall("command") == ["echo", "a b"]
    assert asked.query["container"] == "iris"
    assert asked.headers["Authorization"] == "Bearer first"


async def test_a_file_of_the_image_is_read_in_a_pod_of_its_release(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_deployment()))
    server.on("GET", f"{APPS}/replicasets", says(a_list("1", a_replica_set("old", "1", OLD), a_replica_set())))
    mirrored = a_pod("iris-1")
    mirrored["spec"]["containers"] = [{"name": "iris", "image": "mirror.example.com/by-a-webhook"}]
    server.on("GET", f"{CORE}/pods", says(a_list("1", a_pod("iris-0", owner="old"), mirrored)))
    server.on("GET", f"{POD}/exec", speaks(b"\x01{}", b'\x03{"status": "Success"}'))
    app, image = an_app(), Image("registry.example.com/iris", "", "", "sha256:new")
    candidate = Candidate(app, a_deploy(7), "", image, {})
    assert await reading.read(AppDeployment(api, app, "here"), candidate, "golden.json") == b"{}"
    assert server.asked[-1].query.getall("command") == ["cat", "golden.json"]


async def test_a_terminal_is_told_its_size_and_what_is_typed(server: ApiServer, api: Cluster) -> None:
    heard: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        channels = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await channels.prepare(request)
        heard.extend([await channels.receive_bytes() for _ in range(2)])
        await channels.send_bytes(b"\x01hi")
        await channels.send_bytes(exited(3))
        await channels.close()
        return channels

    server.on("GET", f"{POD}/exec", answer)
    terminal = Terminal(Size(33, 99))
    terminal.put(b"ls\r")
    assert await run(api, terminal) == (3, b"hi")
    assert heard == [b'\x04{"Width": 99, "Height": 33}', b"\x00ls\r"]
    query = server.asked[0].query
    assert {name: query.get(name) for name in ("stdin", "stdout", "stderr", "tty")} == {
        "stdin": "true",
        "stdout": "true",
        "stderr": None,
        "tty": "true",
    }


async def test_a_successful_command_has_exit_code_zero(server: ApiServer, api: Cluster) -> None:
    server.on("GET", f"{POD}/exec", speaks(b'\x03{"status": "Success"}'))
    assert await run(api) == (0, b"")


async def test_a_command_that_cannot_start_has_a_reason(server: ApiServer, api: Cluster) -> None:
    status = b'\x03{"status": "Failure", "message": "exec: no such file", "details": {"causes": [{"message": "x"}]}}'
    server.on("GET", f"{POD}/exec", speaks(status))
    with pytest.raises(RequestRefused, match="no such file"):
        await run(api)


@pytest.mark.parametrize("messages", [(b"\x01half",), (b"\x03not json",)])
async def test_a_connection_that_ends_early_is_an_error(
    server: ApiServer, api: Cluster, messages: tuple[bytes, ...]
) -> None:
    server.on("GET", f"{POD}/exec", speaks(*messages))
    with pytest.raises(Unavailable):
        await run(api)


async def test_a_refused_handshake_is_reported(server: ApiServer, api: Cluster) -> None:
    server.on("GET", f"{POD}/exec", refuses(403, "Forbidden", "pods/exec is forbidden"))
    with pytest.raises(Refused) as caught:
        await run(api)
    assert caught.value.status == 403
