import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import ConfigError, Unavailable


class Replies:
    """A socket that answers one HTTP request a connection, with raw bytes; what `path` has no reply for ends the connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self._replies = {"/_ping": PONG}

    def on(self, path: str, answer: bytes) -> None:
        """Answer requests for `path`, without query and version, that way."""
        self._replies[f"/v1.41{path}"] = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.split("\r\n", 1)[0])
            writer.write(self._replies.get(head.split(" ", 2)[1].partition("?")[0], b""))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


PONG = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"


def reply(status: int, body: object, length: int | None = None) -> bytes:
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text) if length is None else length}\r\nConnection: close"
    return f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + text


@pytest.fixture
async def replies(tmp_path: Path) -> AsyncIterator[Replies]:
    path = tmp_path / "docker.sock"
    replies = Replies(f"unix://{path}")
    server = await asyncio.start_unix_server(replies.serve, path)
    yield replies
    server.close()
    await server.wait_closed()


@pytest.fixture
async def engine(replies: Replies) -> AsyncIterator[EngineClient]:
    async with EngineClient(replies.url) as engine:
        yield engine


async def test_every_call_is_unavailable_without_an_engine(tmp_path: Path) -> None:
    async with EngineClient(f"unix://{tmp_path}/docker.sock") as nobody:
        for doing, asking in (
            ("looking at x", nobody.containers.inspect("x")),
            ("looking for containers", nobody.containers.list({"a": "b"})),
            ("removing x", nobody.containers.remove("x")),
            ("reading the output of x", nobody.containers.printed("x")),
            ("running a command in x", nobody.containers.execute("x", ["true"], _ignored)),
            ("pulling x", nobody.images.pull("x")),
            ("pushing x:y", anext(nobody.images.push("x", "y", None))),
        ):
            with pytest.raises(Unavailable, match=f"^{doing}: ") as raised:
                await asking
            assert not isinstance(raised.value, Refused)


async def test_a_refusal_has_the_engine_s_words_and_status(engine: EngineClient, replies: Replies) -> None:
    replies.on("/containers/iris/start", reply(500, {"message": "port is already allocated"}))
    with pytest.raises(Refused, match=r"^starting iris: port is already allocated$") as raised:
        await engine.containers.start("iris")
    assert (raised.value.said, raised.value.status) == ("port is already allocated", 500)


@pytest.mark.parametrize(("body", "said"), [("<html>a proxy</html>", "<html>a proxy</html>"), ("", "answers 502")])
async def test_a_refusal_that_is_not_json_is_shown_unchanged(
    engine: EngineClient, replies: Replies, body: str, said: str
) -> None:
    replies.on("/containers/iris/json", reply(502, body))
    with pytest.raises(Refused, match=said):
        await engine.containers.inspect("iris")


async def test_a_missing_object_is_none_or_counts_as_removed(engine: EngineClient, replies: Replies) -> None:
    missing = reply(404, {"message": "no such thing"})
    paths = ("/containers/iris/json", "/containers/iris/archive", "/containers/iris/stop", "/containers/iris/wait")
    for path in (*paths, "/containers/iris", "/images/iris/json", "/images/iris", "/networks/iris"):
        replies.on(path, missing)
    assert await engine.containers.inspect("iris") is None
    assert await engine.containers.read("iris", "/golden.json") is None
    assert await engine.images.inspect("iris") is None
    await engine.containers.stop("iris")
    await engine.containers.until_ended("iris")
    await engine.containers.remove("iris")
    assert await engine.images.remove("iris") == frozenset()
    assert await engine.networks.remove("iris")


async def test_an_object_in_use_is_not_removed(engine: EngineClient, replies: Replies) -> None:
    replies.on("/images/iris", reply(409, {"message": "a container uses it"}))
    replies.on("/networks/iris", reply(403, {"message": "it has active endpoints"}))
    with pytest.raises(Refused) as refused:
        await engine.images.remove("iris")
    assert (refused.value.status, refused.value.said) == (409, "a container uses it")
    assert not await engine.networks.remove("iris")


async def test_an_image_goes_without_the_layers_below_it(engine: EngineClient, replies: Replies) -> None:
    replies.on("/images/iris", reply(200, [{"Untagged": "iris:latest"}, {"Deleted": "sha256:1"}]))
    assert await engine.images.remove("iris") == {"sha256:1"}
    assert "noprune=1" in replies.asked[-1]


async def test_an_answer_that_breaks_off_is_unavailable(engine: EngineClient, replies: Replies) -> None:
    replies.on("/containers/iris/json", reply(200, '{"Id": "x', length=1000))
    with pytest.raises(Unavailable, match="looking at iris: the engine does not answer"):
        await engine.containers.inspect("iris")


async def test_a_stream_of_events_that_breaks_off_is_unavailable(engine: EngineClient, replies: Replies) -> None:
    replies.on("/events", reply(200, '{"status": "die"}\n', length=1000))
    events = engine.events({"type": ["container"]})
    assert await anext(events) == b'{"status": "die"}\n'
    with pytest.raises(Unavailable, match="watching the engine"):
        await anext(events)


async def test_the_version_of_the_api_is_asked_for_once(engine: EngineClient, replies: Replies) -> None:
    replies.on("/containers/json", reply(200, []))
    for _ in range(3):
        await engine.containers.list({})
    assert [line.split(" ")[1].partition("?")[0] for line in replies.asked] == [
        "/_ping",
        *["/v1.41/containers/json"] * 3,
    ]


async def test_the_description_of_the_engine_is_asked_for_once(engine: EngineClient, replies: Replies) -> None:
    replies.on("/info", reply(200, {"LoggingDriver": "json-file"}))
    assert [(await engine.info())["LoggingDriver"] for _ in range(2)] == ["json-file"] * 2
    assert len([line for line in replies.asked if "/info" in line]) == 1


async def test_a_server_that_is_not_an_engine_is_refused(engine: EngineClient, replies: Replies) -> None:
    replies._replies["/_ping"] = reply(503, {"message": "starting up"})
    with pytest.raises(Refused, match="asking the engine: starting up"):
        await engine.info()
    replies._replies["/_ping"] = reply(200, "OK")
    with pytest.raises(Unavailable, match="does not say the version"):
        await engine.ping()


async def test_a_build_message_that_is_too_long_is_not_collected(engine: EngineClient, replies: Replies) -> None:
    head = b"HTTP/1.1 200 OK\r\nDate: Mon, 05 Jan 2026 10:00:00 GMT\r\nConnection: close\r\n\r\n"
    replies.on("/build", head + b'{"stream": "one"}\n' + b"x" * (5 * 1024 * 1024))
    async with engine.images.build({}, {}, b"") as build:
        assert await anext(build.messages) == {"stream": "one"}
        with pytest.raises(Unavailable, match="that is too long"):
            await anext(build.messages)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": "denied: no push here", "errorDetail": {"message": "denied: no push here"}}),
        (500, {"cause": "denied", "message": "denied: no push here", "response": 500}),
        (200, {"errorDetail": {"message": "denied: no push here"}}),
        (200, {"error": "denied: no push here"}),
    ],
)
async def test_a_push_that_fails_tells_why_in_every_form_of_an_error(
    engine: EngineClient, replies: Replies, status: int, body: object
) -> None:
    replies.on("/images/localhost:5000/iris/push", reply(status, f"{json.dumps(body)}\n"))
    with pytest.raises(Refused) as refused:
        async for _ in engine.images.push("localhost:5000/iris", "1", None):
            pass
    assert refused.value.said == "denied: no push here"
    assert refused.value.message == "pushing localhost:5000/iris:1: denied: no push here"


async def test_a_pull_without_a_tag_is_of_the_latest(engine: EngineClient, replies: Replies) -> None:
    replies.on("/images/create", reply(200, '{"status": "Pulling from library/haproxy"}\n'))
    await engine.images.pull("localhost:5000/haproxy", ("user", "password"))
    await engine.images.pull("haproxy:lts")
    pulls = [line.split()[1].partition("?")[2] for line in replies.asked if "create" in line]
    assert pulls == ["fromImage=localhost:5000/haproxy:latest", "fromImage=haproxy:lts"]


async def test_podman_is_known_by_its_answer(engine: EngineClient, replies: Replies) -> None:
    replies._replies["/_ping"] = PONG.replace(b"Api-Version", b"Libpod-Api-Version: 5.8.6\r\nApi-Version")
    assert await engine.is_podman()
    assert len(replies.asked) == 1


async def test_a_docker_engine_is_not_podman(engine: EngineClient) -> None:
    assert not await engine.is_podman()


async def test_the_parents_of_images_have_whole_ids(engine: EngineClient, replies: Replies) -> None:
    parents = ["", "sha256:1f", "2f"]  # the last is Podman's
    replies.on("/images/json", reply(200, [{"Id": "sha256:0f", "ParentId": parent} for parent in parents]))
    assert [image["ParentId"] for image in await engine.images.all()] == ["", "sha256:1f", "sha256:2f"]


async def test_podman_is_asked_for_the_paths_of_the_host_before_a_container_is_made(
    engine: EngineClient, replies: Replies
) -> None:
    replies._replies["/_ping"] = PONG.replace(b"Api-Version", b"Libpod-Api-Version: 5.8.6\r\nApi-Version")
    said = "statfs /gone: no such file or directory"
    replies.on("/libpod/containers/create", reply(500, {"cause": "x", "message": said, "response": 500}))
    replies.on("/containers/create", reply(201, {"Id": "1"}))
    mounted = {"Image": "x", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/gone", "Target": "/data"}]}}
    with pytest.raises(Refused, match="statfs /gone"):
        await engine.containers.create("web", mounted)
    assert await engine.containers.create("web", {"Image": "x"}) == "1"
    replies.on("/libpod/containers/create", reply(201, {"Id": "2"}))
    replies.on("/containers/2", reply(204, ""))
    assert await engine.containers.create("web", mounted) == "1"
    replies.on(
        "/libpod/containers/create", reply(500, {"message": "the name is in use"})
    )  # as Docker's API says better
    assert await engine.containers.create("web", mounted) == "1"
    assert [line.split("?")[0].replace("/v1.41", "") for line in replies.asked if "_ping" not in line] == [
        "POST /libpod/containers/create HTTP/1.1",
        "POST /containers/create",
        *("POST /libpod/containers/create HTTP/1.1", "DELETE /containers/2", "POST /containers/create"),
        *("POST /libpod/containers/create HTTP/1.1", "POST /containers/create"),
    ]


async def test_podman_answers_500_about_a_container_that_is_gone(engine: EngineClient, replies: Replies) -> None:
    said = "no container with ID 5f2a found in database: no such container"
    replies.on("/containers/5f2a", reply(500, {"cause": "no such container", "message": said, "response": 500}))
    replies.on("/containers/5f2a/wait", reply(500, {"cause": "x", "message": "database is locked", "response": 500}))
    await engine.containers.remove("5f2a")
    with pytest.raises(Refused, match="database is locked"):
        await engine.containers.until_ended("5f2a")


async def test_an_empty_line_is_an_empty_answer(engine: EngineClient, replies: Replies) -> None:
    replies.on("/containers/5f2a/start", reply(200, "\n"))
    await engine.containers.start("5f2a")


async def test_an_invalid_address_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="deployd cannot speak to"):
        EngineClient("docker.sock")


async def _ignored(data: bytes) -> None:
    """The output of a command that nobody wants."""
