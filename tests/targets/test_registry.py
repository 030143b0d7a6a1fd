import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deployd.bringup.api import EngineApi
from deployd.config.daemon import Registry as Settings
from deployd.domain import Image
from deployd.engine.connection import Refused
from deployd.errors import ConfigError, RolloutFailed, Unavailable
from deployd.targets.registry import Registry, _push_failed, _while_messages_come
from tests.fakes import FakeLog
from tests.targets.kubernetes.api_server import ApiServer, api_server, says
from tests.testbed.images import BUSYBOX
from tests.testbed.registry import Registry as RealRegistry

DIGEST = "sha256:" + hashlib.sha256(b"manifest").hexdigest()
PATH = f"/v2/team/iris/manifests/{DIGEST}"
BASIC = "Basic " + base64.b64encode(b"ada:se-cret").decode()
CREDENTIALS = {"username": "ada", "password": "env:REGISTRY_PASSWORD"}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    monkeypatch.setenv("REGISTRY_PASSWORD", "se-cret")
    async with api_server(tmp_path) as running:
        yield running


def a_registry(server: ApiServer, **settings: object) -> Registry:
    return Registry(Settings.model_validate({"url": f"{server.address}/team", "insecure": True, **settings}))


def an_image(server: ApiServer) -> Image:
    return Image(f"{server.address}/team/iris", "c0ffee", "sha256:id", DIGEST)


async def test_an_image_with_a_digest_is_only_looked_up(server: ApiServer) -> None:
    server.on("HEAD", PATH, says("", headers={"Docker-Content-Digest": DIGEST}))
    assert await a_registry(server).push(an_image(server), FakeLog()) == an_image(server)
    assert "application/vnd.oci.image.index.v1+json" in server.asked[0].headers["Accept"]


async def test_a_registry_that_names_no_digest_is_asked_for_the_manifest(server: ApiServer) -> None:
    async def manifest(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"manifest")

    server.on("HEAD", PATH, says(""))
    server.on("GET", PATH, manifest)
    await a_registry(server).push(an_image(server), FakeLog())


async def test_another_digest_than_the_requested_one_is_refused(server: ApiServer) -> None:
    server.on("HEAD", PATH, says("", headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(RolloutFailed, match="answers sha256:000"):
        await a_registry(server).push(an_image(server), FakeLog())


async def test_an_image_that_is_missing_from_the_registry_fails(server: ApiServer) -> None:
    server.on("HEAD", PATH, says("", 404))
    with pytest.raises(RolloutFailed, match="is not in the registry"):
        await a_registry(server).push(an_image(server), FakeLog())


async def test_a_token_is_fetched_with_the_credentials(server: ApiServer) -> None:
    async def manifest(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer t0ken":
            return web.Response(headers={"Docker-Content-Digest": DIGEST})
        challenge = f'Bearer realm="http://{server.address}/token",service="reg",scope="ignored"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    server.on("HEAD", PATH, manifest)
    server.on("GET", "/token", says({"token": "t0ken"}))
    await a_registry(server, **CREDENTIALS).push(an_image(server), FakeLog())
    asked = next(request for request in server.asked if request.path == "/token")
    assert dict(asked.query) == {"service": "reg", "scope": "repository:team/iris:pull"}
    assert asked.headers["Authorization"] == BASIC


async def test_basic_credentials_are_sent_only_when_asked_for(server: ApiServer) -> None:
    async def manifest(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == BASIC:
            return web.Response(headers={"Docker-Content-Digest": DIGEST})
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="reg"'})

    server.on("HEAD", PATH, manifest)
    await a_registry(server, **CREDENTIALS).push(an_image(server), FakeLog())
    assert "Authorization" not in server.asked[0].headers
    with pytest.raises(RolloutFailed, match="refuses"):
        await a_registry(server).push(an_image(server), FakeLog())


async def test_a_password_is_not_sent_to_a_token_server_without_tls(server: ApiServer) -> None:
    registry = a_registry(server, **CREDENTIALS)
    registry._settings = registry._settings.model_copy(update={"insecure": False})
    challenge = {"WWW-Authenticate": 'Bearer realm="http://elsewhere.example.com/token"'}
    server.on("HEAD", PATH, says("", 401, challenge))
    with pytest.raises(Unavailable, match="not https"):
        await registry.push(an_image(server), FakeLog())


async def test_a_registry_that_does_not_answer_is_unavailable(server: ApiServer) -> None:
    await server.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        await a_registry(server).push(an_image(server), FakeLog())


def test_plain_http_needs_insecure() -> None:
    with pytest.raises(ConfigError, match="insecure"):
        Registry(Settings(url="http://registry.example.com"))
    assert Registry(Settings(url="https://registry.example.com/team/")).prefix == "registry.example.com/team"


async def a_tagged_image(engine: str, name: str) -> Image:
    api = EngineApi(engine)
    await asyncio.to_thread(api.post, f"/images/{BUSYBOX}/tag?repo={name}&tag=c0ffee")
    return Image(name, "c0ffee", (await asyncio.to_thread(api.get, f"/images/{name}:c0ffee/json"))["Id"])


@pytest.mark.engine
async def test_an_image_is_pushed_and_its_digest_proven(
    base_images: object, engine: str, registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    pusher = Registry(Settings(url=registry.address, insecure=True))
    log = FakeLog()
    image = await a_tagged_image(engine, f"{registry.address}/pushed")
    pushed = await pusher.push(image, log)
    assert pushed.digest is not None
    assert pushed.digest in log.text
    assert await pusher.push(pushed, log) == pushed
    EngineApi(engine).delete(f"/images/{image.full_name}")


@pytest.mark.engine
async def test_a_wrong_password_is_refused_by_the_registry(
    base_images: object, engine: str, registry_with_password: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.setenv("REGISTRY_PASSWORD", str(registry_with_password.password))
    settings = {"url": registry_with_password.address, "insecure": True}
    image = await a_tagged_image(engine, f"{registry_with_password.address}/pushed")
    right = Registry(Settings.model_validate(settings | CREDENTIALS | {"username": registry_with_password.username}))
    await right.ping()
    log = FakeLog()
    assert (await right.push(image, log)).digest is not None
    assert "testbed" not in log.text
    with pytest.raises(RolloutFailed, match="not pushed"):
        await Registry(Settings.model_validate(settings)).push(image, FakeLog())
    EngineApi(engine).delete(f"/images/{image.full_name}")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("denied: requested access to the resource is denied", RolloutFailed),
        ("tag invalid: The image tag 'c0ffee' already exists and cannot be overwritten: immutable", RolloutFailed),
        ("unknown: adding 12 MiB of storage resource would exceed the configured quota", RolloutFailed),
        ("received unexpected HTTP status: 503 Service Unavailable", Unavailable),
        ("toomanyrequests: slow down", Unavailable),
        ("dial tcp: i/o timeout", Unavailable),
    ],
)
def test_a_permanent_refusal_fails_the_roll_out(words: str, kind: type[Exception]) -> None:
    image = Image("registry.example.com/team/policy", "c0ffee", "sha256:id")
    assert type(_push_failed(image, Refused("pushing", words, 500))) is kind


async def test_a_push_without_messages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.targets.registry._SILENCE_S", 0.1)

    async def silent() -> AsyncIterator[dict[str, Any]]:
        yield {"status": "Pushing"}
        await asyncio.Event().wait()

    said = _while_messages_come(silent())
    assert await anext(said) == {"status": "Pushing"}
    with pytest.raises(Unavailable, match="sent nothing"):
        await anext(said)
