"""How requests reach an app: by port, by host name and path, over TLS, and what they find when nothing serves."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.gates.ready import ReadyGate
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fakes import FakeLog, FakeProgress
from tests.targets.docker.load import Load
from tests.targets.docker.test_faults import answered_503, watched
from tests.targets.docker.test_rollout import answer, roll_out
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_before_the_first_release_a_request_gets_a_503_with_retry_after(target: DockerTarget) -> None:
    port = free_port()
    target.expect([an_app(1, listen=port)])

    async with watched(target):
        await answered_503(port)

    refused = await answer(port)
    assert refused.headers["Retry-After"] == "5"
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["title"] == "no release of this app is serving"


async def test_a_release_gets_the_address_of_the_client(target: DockerTarget, web: Image) -> None:
    port = free_port()
    await roll_out(target, 1, web, port)
    assert "x-forwarded-for: 127.0.0.1" in (await answer(port, "/headers")).text.lower()


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

    async with DockerTarget(instance, section, tmp_path / "gateway", engine) as target:
        await target.roll_out(root, a_deploy(1, web, app=root.name), web, FakeProgress())
        deploy = a_deploy(2, web, app=deep.name)
        await target.roll_out(deep, deploy, web, FakeProgress(ReadyGate()))

        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as http:
            for path, said in (("/", 1), ("/deeper", 1), ("/deep", 2), ("/deep/er", 2)):
                assert (await http.get(path, headers={"Host": f"A.example.com:{port}"})).text == commit(said)
            nowhere = await http.get("/", headers={"Host": "b.example.com"})
            metrics = await http.get(f"http://127.0.0.1:{stats}/metrics")
        assert (nowhere.status_code, nowhere.json()["title"]) == (404, "no app answers to this host name and path")
        assert "haproxy_server_" in metrics.text


async def test_tls_ends_at_the_gateway(engine: str, instance: str, web: Image, tmp_path: Path) -> None:
    port, directory = free_port(), tmp_path / "certificates"
    directory.mkdir()
    authority = certificate(directory / "a.pem", "a.example.com")
    section = GatewaySection(bind="127.0.0.1", https_port=port, certificates=directory)
    app = an_app(1).model_copy(update={"gateway": an_app(1).gateway.model_copy(update={"hosts": ("a.example.com",)})})

    async with DockerTarget(instance, section, tmp_path / "gateway", engine) as target:
        await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
        context = ssl.create_default_context(cadata=authority)
        async with httpx.AsyncClient(trust_env=False, verify=context) as http:
            request = http.build_request(
                "GET",
                f"https://127.0.0.1:{port}/headers",
                headers={"Host": "a.example.com"},
                extensions={"sni_hostname": "a.example.com"},
            )
            assert "x-forwarded-proto: https" in (await http.send(request)).text.lower()


async def test_on_a_bridge_a_swap_loses_no_request(
    engine: str, instance: str, web: Image, tmp_path: Path, leaks: Leaks
) -> None:
    port, log = free_port(), FakeLog()
    section = GatewaySection(network="bridge", bind="127.0.0.1")

    async with DockerTarget(instance, section, tmp_path / "gateway", engine) as target:
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
    key, certificate = path.with_suffix(".key"), path.with_suffix(".crt")
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    written = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *made, *named, *written], check=True, capture_output=True)
    path.write_text(certificate.read_text() + key.read_text())
    key.unlink()
    certificate.unlink()
    return path.read_text().split("-----BEGIN PRIVATE KEY")[0]
