"""How requests reach an app: by port, by host name and path, over TLS, and what they find when nothing serves."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog, FakeMade
from tests.gateway.certificate import made
from tests.targets.docker.load import Load
from tests.targets.docker.test_rollout import roll_out
from tests.targets.docker.traffic import answer, answered_503, watched
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HOST = "a.example.com"


async def test_before_the_first_release_a_request_gets_a_503_with_retry_after(target: DockerTarget) -> None:
    port = free_port()
    target.expect([an_app(1, listen=port)])

    async with watched(target):
        await answered_503(port)

    refused = await answer(port)
    assert refused.headers["Retry-After"] == "5"
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["title"] == "no release of this app is serving"


SPOOFED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example.com",
    "X_Forwarded_For": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "X-Forwarded-Prefix": "/evil",
}


async def headers(port: int, given: dict[str, str], path: str = "/headers") -> list[str]:
    """The headers about the client that a release gets, in lower case and in order."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.get(f"http://127.0.0.1:{port}{path}", headers=given)
    lines = answer.text.lower().splitlines()
    return sorted(line for line in lines if line.startswith(("x-forwarded", "x_forwarded", "forwarded", "x-real")))


async def test_a_release_learns_of_the_client_from_the_gateway_and_never_from_the_client(
    target: DockerTarget, web: Image
) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    said = ["x-forwarded-for: 127.0.0.1", f"x-forwarded-host: 127.0.0.1:{port}", "x-forwarded-proto: http"]
    assert await headers(port, {}) == said
    assert await headers(port, SPOOFED) == said


async def test_a_trusted_proxy_is_believed(engine: str, instance: str, web: Image, tmp_path: Path) -> None:
    port, section = free_port(), GatewaySection(bind="127.0.0.1", trusted_proxies=("127.0.0.0/8",))
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await roll_out(target, 1, web, port)
        assert await headers(port, {}) == [
            "x-forwarded-for: 127.0.0.1",
            f"x-forwarded-host: 127.0.0.1:{port}",
            "x-forwarded-proto: http",
        ]
        given = {"X-Forwarded-For": "203.0.113.9, 10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.test"}
        assert await headers(port, given) == [
            "x-forwarded-for: 203.0.113.9, 10.0.0.1, 127.0.0.1",
            "x-forwarded-host: a.test",
            "x-forwarded-proto: https",
        ]


async def test_headers_of_30_kb_need_a_larger_buffer(engine: str, instance: str, web: Image, tmp_path: Path) -> None:
    port, cookie = free_port(), {"Cookie": f"session={'x' * 30_000}"}
    async with DockerTarget(
        instance, GatewaySection(bind="127.0.0.1"), tmp_path / "gateway", FakeMade(), engine
    ) as target:
        await roll_out(target, 1, web, port)
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            # HAProxy 3.2 answers 431, older ones 400.
            assert (await http.get(f"http://127.0.0.1:{port}/", headers=cookie)).status_code in {400, 431}
    section = GatewaySection.model_validate({"bind": "127.0.0.1", "buffer": "64KiB"})
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await roll_out(target, 2, web, port)
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            assert (await http.get(f"http://127.0.0.1:{port}/", headers=cookie)).text == commit(2)


async def test_a_prefix_is_taken_away_where_the_app_asks_for_it(target: DockerTarget, web: Image) -> None:
    port = free_port()
    app = an_app(1, listen=port)
    stripped = app.gateway.model_copy(update={"path_prefix": "/v1.0", "strip_prefix": True})
    app = app.model_copy(update={"gateway": stripped})
    await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
    assert "x-forwarded-prefix: /v1.0" in await headers(port, SPOOFED, "/v1.0/headers")
    assert "x-forwarded-prefix: /v1.0" in await headers(port, SPOOFED, "/v1.0//headers")
    assert (await answer(port, "/v1.0?x=/v1.0/")).text == commit(1)
    assert "x-forwarded-prefix" not in "".join(await headers(port, {}, "/headers"))


async def test_apps_share_a_port_by_host_name_and_path(
    engine: str, instance: str, web: Image, tmp_path: Path, docker_engine: Engine
) -> None:
    port, stats = free_port(), free_port()
    section = GatewaySection(bind="127.0.0.1", http_port=port, stats_port=stats)
    root = an_app(1, name=f"{NAME}-a").model_copy(
        update={"gateway": an_app(1).gateway.model_copy(update={"hosts": ("a.example.com",)})}
    )
    deep = root.model_copy(
        update={
            "name": f"{NAME}-b",
            "gateway": root.gateway.model_copy(update={"path_prefix": "/deep"}),
            "docker": an_app(2).docker,
        }
    )

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await target.roll_out(root, a_deploy(1, web, app=root.name), web, FakeProgress())
        deploy = a_deploy(2, web, app=deep.name)
        await target.roll_out(deep, deploy, web, FakeProgress(ReadyGate()))

        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}", verify=False) as http:
            for path, said in (("/", 1), ("/deeper", 1), ("/deep", 2), ("/deep/er", 2)):
                assert (await http.get(path, headers={"Host": f"A.example.com:{port}"})).text == commit(said)
            nowhere = await http.get("/", headers={"Host": "b.example.com"})
            metrics = await http.get(f"http://127.0.0.1:{stats}/metrics")
        assert (nowhere.status_code, nowhere.json()["title"]) == (404, "no app answers to this host name and path")
        assert "haproxy_server_" in metrics.text


def with_host(number: int, port: int | None = None) -> App:
    """An app that answers to HOST."""
    app = an_app(number, listen=port)
    return app.model_copy(update={"gateway": app.gateway.model_copy(update={"hosts": (HOST,)})})


async def secure(port: int, authority: str, path: str = "/headers") -> str:
    """The answer over TLS to a client that trusts just `authority`."""
    async with httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context(cadata=authority)) as http:
        url, name = f"https://127.0.0.1:{port}{path}", {"sni_hostname": HOST}
        request = http.build_request("GET", url, headers={"Host": HOST}, extensions=name)
        return (await http.send(request)).text


async def test_tls_ends_at_the_gateway(engine: str, instance: str, web: Image, tmp_path: Path) -> None:
    port, directory = free_port(), tmp_path / "certificates"
    directory.mkdir()
    authority = certificate(directory / "a.pem", HOST)
    section = GatewaySection(bind="127.0.0.1", https_port=port, certificates=directory)

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await target.roll_out(with_host(1), a_deploy(1, web), web, FakeProgress(ReadyGate()))
        assert "x-forwarded-proto: https" in (await secure(port, authority)).lower()


async def test_without_a_usable_certificate_only_https_is_closed_until_there_is_one(
    engine: str, instance: str, web: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.gateway.copies._READ_EVERY_SECONDS", 0.05)
    port, tls, directory = free_port(), free_port(), tmp_path / "certificates"
    directory.mkdir()
    (directory / "a.pem").write_text("notes")
    section = GatewaySection(bind="127.0.0.1", https_port=tls, certificates=directory)
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await target.roll_out(with_host(1, port), a_deploy(1, web), web, FakeProgress(ReadyGate()))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False) as http:
            assert (await http.get("/")).text == commit(1)
        assert (await target.ping())["gateway"] == f"warning: https_port is closed; {directory}/a.pem is not PEM"
        authority = certificate(directory / "a.pem", HOST)
        async with watched(target), asyncio.timeout(30):
            while (await target.ping())["gateway"] != "ok":  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
        assert await secure(tls, authority, "/") == commit(1)


async def test_a_renewed_certificate_is_taken_up_under_load_without_a_failed_request(
    engine: str, instance: str, web: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As certbot renews: new files in an archive, then its links are turned to them."""
    monkeypatch.setattr("deployd.gateway.copies._READ_EVERY_SECONDS", 0.05)
    port, tls, live, archive = free_port(), free_port(), tmp_path / "live" / HOST, tmp_path / "archive"
    archive.mkdir()
    live.mkdir(parents=True)

    def renew(number: int) -> str:
        chain, key = made(tmp_path, HOST)
        for name, content in (("fullchain", chain), ("privkey", key)):
            (archive / f"{name}{number}.pem").write_bytes(content)
            (live / "new").symlink_to(f"../../archive/{name}{number}.pem")
            (live / "new").rename(live / f"{name}.pem")
        return chain.decode()

    async def serves(authority: str) -> bool:
        try:
            return await secure(tls, authority, "/") == commit(1)
        except httpx.ConnectError:
            return False

    first = authority = renew(1)
    section = GatewaySection(bind="127.0.0.1", https_port=tls, certificates=tmp_path / "live")
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await target.roll_out(with_host(1, port), a_deploy(1, web), web, FakeProgress(ReadyGate()))
        assert await serves(first)
        async with watched(target), Load(port) as load:
            for number in (2, 3):
                authority = renew(number)
                async with asyncio.timeout(30):
                    while not await serves(authority):
                        await load.more(20)
            await load.more(200)
            (archive / "fullchain3.pem").write_text("half a fi")
            async with asyncio.timeout(30):
                while (await target.ping())["gateway"] == "ok":
                    await load.more(20)
            assert (await target.ping())["gateway"] == f"warning: {live}/fullchain.pem holds no certificate"
            assert await serves(authority)
    assert load.failures == []
    assert not await serves(first)


async def test_on_a_bridge_a_swap_loses_no_request(
    engine: str, instance: str, web: Image, tmp_path: Path, leaks: Leaks
) -> None:
    port, log = free_port(), FakeLog()
    section = GatewaySection(network="bridge", bind="127.0.0.1")

    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        await roll_out(target, 1, web, port)
        async with Load(port, keeping=1, renewing=1) as load:
            await load.more(200)
            await roll_out(target, 2, web, port)
            await target.sweep(an_app(2, listen=port), 2, log)
            await load.more(200)
        assert load.failures == []
        assert load.went_back([commit(1), commit(2)]) == []
        await target.remove(NAME)

    assert leaks.present() == []


def certificate(path: Path, host: str) -> str:
    """Write a self-signed certificate with its key, as HAProxy takes it; the certificate alone."""
    chain, key = made(path.parent.parent, host)
    path.write_bytes(chain + key)
    return chain.decode()


async def test_a_wildcard_takes_the_names_that_no_app_has_as_a_whole(
    engine: str, instance: str, web: Image, tmp_path: Path
) -> None:
    port = free_port()
    section = GatewaySection(bind="127.0.0.1", http_port=port)
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine) as target:
        for number, hosts in ((1, ("*.example.com",)), (2, ("a.example.com", "*.b.example.com"))):
            app = an_app(number, name=f"{NAME}-{number}")
            app = app.model_copy(update={"gateway": app.gateway.model_copy(update={"hosts": hosts})})
            deploy = a_deploy(number, web, app=app.name)
            await target.roll_out(app, deploy, web, FakeProgress(ReadyGate()))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False) as http:
            for host, number in (
                ("x.example.com", 1),
                ("a.example.com", 2),
                ("x.b.example.com", 2),
                ("b.example.com", 1),
            ):
                assert (await http.get("/", headers={"Host": f"{host}:{port}"})).text == commit(number)
            for host in ("example.com", "x.y.example.com", "xexample.com", "x.exampleXcom"):
                assert (await http.get("/", headers={"Host": host})).status_code == 404
