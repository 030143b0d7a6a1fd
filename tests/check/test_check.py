"""What `deployd check` finds: real files, ports and git repositories, and an engine where there is one."""

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.check.builder import UNSTOPPABLE
from deployd.check.check import _shares, check
from deployd.check.finding import Finding
from deployd.check.podman import NO_NETWORK
from deployd.config.file import load
from deployd.engine.client import EngineClient
from deployd.gateway.gateway import Gateway
from deployd.gateway.layout import Layout, container_spec, gateway_name
from deployd.gateway.network import Network
from deployd.host.process import only_one
from tests.conftest import Leaks
from tests.gateway.certificate import made
from tests.targets.kubernetes.apps import an_app
from tests.testbed.images import BUSYBOX
from tests.testbed.registry import Registry

IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
NO_ENGINE = "unix:///nowhere/docker.sock"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on main."""
    path = tmp_path / "iris.git"
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    _commit(path, "first")
    return path


def _commit(repository: Path, message: str) -> None:
    command = ["git", *IDENTITY, "commit", "-q", "--allow-empty", "-m", message]
    subprocess.run(command, cwd=repository, check=True)


def _config(
    tmp_path: Path, repository: Path, more: str = "", branch: str = "main", server: str = "port = 0", listen: int = 8000
) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        f'[server]\nstate_dir = "{tmp_path}/state"\n{server}\n[git]\nallow_file = true\n'
        f'[[app]]\nname = "iris"\nrepo = "{repository}"\nbranch = "{branch}"\n[app.gateway]\nlisten = {listen}\n{more}'
    )
    return file


async def _found(file: Path, what: str) -> list[Finding]:
    return [finding for finding in await check(file) if finding.what == what]


@pytest.fixture(autouse=True)
def _away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)


async def test_the_command_of_a_gate_or_hook_that_is_not_there_is_found(tmp_path: Path, repository: Path) -> None:
    gates = (
        '[[app.gate]]\nname = "fairness"\ncommand = ["/nowhere/fairness"]\n[[app.hook]]\nname = "a"\ncommand = ["sh"]\n'
    )
    (wrong, _) = await _found(_config(tmp_path, repository, gates), "app iris")
    assert (wrong.verdict, wrong.detail, wrong.in_config) == (
        "wrong",
        "app.iris.gate.fairness.command: there is no command /nowhere/fairness",
        True,
    )


@pytest.mark.slow
async def test_whether_the_metrics_of_an_app_can_be_computed_is_tried(tmp_path: Path, repository: Path) -> None:
    table = '[app.evaluate]\ndata = "/nowhere/eval.csv"\ntarget = "species"\nmetrics = { accuracy = {} }\n'
    computed, data, _ = await _found(_config(tmp_path, repository, table), "app iris")
    assert (computed.verdict, computed.detail) == ("ok", "evaluate: accuracy can be computed")
    assert (data.verdict, data.detail) == ("wrong", "evaluate: /nowhere/eval.csv cannot be read")
    bare, *_ = await _found(_config(tmp_path, repository, f'{table}python = "/nowhere/python"\n'), "app iris")
    assert (bare.verdict, bare.detail) == (
        "wrong",
        "evaluate: /nowhere/python cannot be started: No such file or directory",
    )
    assert "scikit-learn" in bare.hint


async def test_the_head_of_every_app_is_shown(tmp_path: Path, repository: Path) -> None:
    head = (repository / ".git/refs/heads/main").read_text()
    (found,) = await _found(_config(tmp_path, repository), "app iris")
    assert found.verdict == "ok"
    assert f"refs/heads/main of {repository} is at {head[:12]}" in found.detail
    assert found.detail.endswith("it would serve on http://127.0.0.1:8000")


async def test_a_head_that_the_first_look_would_skip_is_told_with_the_reason(tmp_path: Path, repository: Path) -> None:
    await asyncio.to_thread(_commit, repository, "[skip ci]")
    (found,) = await _found(_config(tmp_path, repository), "app iris")
    assert found.verdict == "warning"
    assert found.detail.endswith("the first look would skip it: the commit's message says [skip ci]")
    assert found.hint == "push a commit without it, or deploy this one yourself: deployd deploy iris"


@pytest.mark.parametrize(("branch", "repo"), [("nope", ""), ("main", "/gone")])
async def test_a_missing_branch_or_repository_is_a_fault(
    tmp_path: Path, repository: Path, branch: str, repo: str
) -> None:
    where = tmp_path / "gone" if repo else repository
    (found,) = await _found(_config(tmp_path, where, branch=branch), "app iris")
    assert (found.verdict, found.in_config) == ("wrong", False)


async def test_a_wrong_config_is_the_only_finding(tmp_path: Path, repository: Path) -> None:
    (found,) = await check(_config(tmp_path, repository, server="prot = 1"))
    assert (found.what, found.verdict, found.in_config) == ("config", "wrong", True)
    assert "server.prot: unknown key" in found.detail


async def test_every_secret_is_read(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "x")
    more = '[app.build]\nsecrets = { TOKEN = "env:ONE" }\n[app.docker]\nenv_secrets = { KEY = "env:TWO" }\n'
    verdicts = {one.detail: one.verdict for one in await _found(_config(tmp_path, repository, more), "secret")}
    assert verdicts == {
        "app.iris.build.secrets.TOKEN: env:ONE can be read": "ok",
        "app.iris.docker.env_secrets.KEY: the environment variable TWO is not set": "wrong",
    }


async def test_a_port_in_use_by_another_program_is_a_fault(tmp_path: Path, repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (found,) = await _found(_config(tmp_path, repository, server=f"port = {port}"), "api port")
        assert (found.verdict, found.detail) == ("wrong", f"127.0.0.1:{port}: Address already in use")
    (found,) = await _found(_config(tmp_path, repository, server=f"port = {port}"), "api port")
    assert found.verdict == "ok"


async def test_a_port_that_the_running_daemon_does_not_hold_is_not_taken_for_its_own(
    tmp_path: Path, repository: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        other = await asyncio.create_subprocess_exec("sleep", "60")
        (tmp_path / "state").mkdir()
        for pid, detail in ((os.getpid(), "is held by deployd"), (other.pid, "Address already in use")):
            (tmp_path / "state/lock").write_text(f"{pid}\n")
            (found,) = await _found(_config(tmp_path, repository, server=f"port = {port}"), "api port")
            assert detail in found.detail
        other.kill()
        await other.wait()


async def test_an_engine_that_does_not_answer_is_a_fault_with_a_hint(tmp_path: Path, repository: Path) -> None:
    (found,) = await _found(_config(tmp_path, repository), "engine")
    assert (found.verdict, "DOCKER_HOST" in found.hint) == ("wrong", True)


async def test_missing_webhook_secrets_are_a_warning_and_missing_tokens_are_none(
    tmp_path: Path, repository: Path
) -> None:
    file = _config(tmp_path, repository)
    assert [one.verdict for one in await _found(file, "tokens")] == ["ok"]
    assert [one.verdict for one in await _found(file, "webhooks")] == ["warning"]
    token = f'[[auth.tokens]]\nname = "ci"\nrole = "deploy"\nsha256 = "{"0" * 64}"\n'
    file = _config(tmp_path, repository, token)
    assert [one.detail for one in await _found(file, "tokens")] == ["ci (deploy)"]


async def test_the_secrets_of_every_forge_are_tried(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD", "whsec_" + "A" * 43 + "=")
    monkeypatch.setenv("BROKEN", "whsec_A")
    forges = '[gitlab]\nsecrets = ["env:GOOD", "env:BROKEN"]\n[bitbucket]\ntoken = "env:GONE"\n'
    file = _config(tmp_path, repository, forges)
    assert await _found(file, "webhooks") == []
    told = [(one.verdict, one.detail) for one in await _found(file, "secret")]
    assert ("ok", "gitlab.secrets[0]: env:GOOD can be read") in told
    assert ("wrong", "gitlab.secrets: the signing token is not complete") in told
    assert ("wrong", "bitbucket.token: the environment variable GONE is not set") in told


@pytest.mark.engine
async def test_a_gateway_image_that_cannot_be_pulled_is_a_fault(
    tmp_path: Path, repository: Path, docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    file = _config(tmp_path, repository, '[gateway]\nimage = "127.0.0.1:1/nothing/haproxy:lts"\n')
    (found,) = await _found(file, "gateway")
    assert found.verdict == "wrong"
    assert "and cannot pull it: asking the registry: " in found.detail
    assert "gateway.image" in found.hint


@pytest.mark.engine
async def test_a_gateway_image_that_can_be_pulled_is_no_fault(
    tmp_path: Path, repository: Path, base_images: Engine, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    name, api = f"{registry.address}/deployd-test/check", base_images.api(timeout=60)
    api.post(f"/images/{BUSYBOX}/tag?repo={quote(name, safe='')}&tag=there")
    async with EngineClient(base_images.url) as engine:
        _ = [said async for said in engine.images.push(name, "there", None)]
    api.delete(f"/images/{name}:there")

    file = _config(tmp_path, repository, f'[gateway]\nimage = "{name}:there"\n')

    (found,) = await _found(file, "gateway")
    assert (found.verdict, found.detail) == ("ok", f"the engine will pull the image {name}:there at the start")


@pytest.mark.engine
async def test_another_daemon_with_the_same_instance_is_a_fault(
    tmp_path: Path, repository: Path, base_images: Engine, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    file = _config(tmp_path, repository, server=f'port = 0\ninstance = "{instance}"')
    other = tmp_path / "other"
    spec = container_spec(Layout(instance, BUSYBOX, other / "gateway", "sockets-a"))
    base_images.api().post(f"/containers/create?name={gateway_name(instance)}", spec)
    with only_one(other):
        (found,) = await _found(file, "instance")
        assert found.verdict == "wrong"
        assert found.detail.endswith(f"state directory {other}) uses this engine as instance {instance}")
    shutil.rmtree(other)
    assert await _found(file, "instance") == []


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("network", ["host", "bridge"])
async def test_only_the_ports_that_the_gateway_itself_holds_are_taken_for_its_own(
    tmp_path: Path,
    repository: Path,
    base_images: Engine,
    instance: str,
    leaks: Leaks,
    monkeypatch: pytest.MonkeyPatch,
    network: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    app, shared, free = free_port(), free_port(), free_port()
    section = f'bind = "127.0.0.1"\nnetwork = "{network}"\n'
    file = _config(
        tmp_path,
        repository,
        f'hosts = ["a.example.com"]\n[gateway]\nhttp_port = {shared}\n{section}',
        server=f'port = 0\ninstance = "{instance}"',
        listen=app,
    )
    config = load(file)
    async with EngineClient(base_images.url) as engine:
        gateway = Gateway(engine, instance, config.gateway, tmp_path / "gateway")
        await gateway.open()
        await gateway.ensure(config.app)
        ours = {one.detail for one in await check(file) if one.what == "app port"}
        assert ours == {
            f"app.iris.gateway.listen: 127.0.0.1:{app} is held by deployd",
            f"gateway.http_port: 127.0.0.1:{shared} is held by deployd",
        }

        with socket.create_server(("127.0.0.1", free)):
            file.write_text(file.read_text().replace(f"listen = {app}", f"listen = {free}"))
            found = next(one for one in await _found(file, "app port") if str(free) in one.detail)
        assert (found.verdict, found.detail) == (
            "wrong",
            f"app.iris.gateway.listen: 127.0.0.1:{free}: Address already in use",
        )
        found = next(one for one in await _found(file, "app port") if str(free) in one.detail)
        assert (found.verdict, found.detail) == ("ok", f"app.iris.gateway.listen: 127.0.0.1:{free} is free")
        await gateway.container.remove()
        await Network(engine, instance).remove()
    assert leaks.present() == []


def test_what_a_canary_on_a_cluster_makes_of_the_percentages_is_told() -> None:
    gateway = {"weights": [5, 50, 80, 100]}
    found = [(one.verdict, one.detail) for one in _shares(an_app(replicas=1, app_gateway=gateway))]
    assert found == [
        ("warning", "gateway.weights: 5 % asked, 1 of 2 pods is 50 %"),
        ("ok", "gateway.weights: 50 % asked, 1 of 2 pods is 50 %"),
        ("warning", "gateway.weights: 80 % asked, 1 of 2 pods is 50 %"),
    ]
    assert [one.verdict for one in _shares(an_app(replicas=20, app_gateway={"weights": [5, 25, 100]}))] == ["ok", "ok"]
    assert list(_shares(an_app(create=False, app_gateway=gateway))) == list(_shares(an_app(replicas=1))) == []


@pytest.mark.engine
async def test_what_the_engine_cannot_do_is_a_fault_of_the_config(
    tmp_path: Path, repository: Path, base_images: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    file = _config(tmp_path, repository, '[app.docker]\nnetwork = "nowhere"\n')
    found = next(one for one in await _found(file, "app iris") if one.verdict == "wrong")
    assert found.in_config
    assert found.detail == "app.iris.docker.network: this engine has no network nowhere"
    untried = '[app.docker]\nmemory = "64MiB"\n[gateway]\nimage = "no-such-image:1"\n'
    warned = next(one for one in await _found(_config(tmp_path, repository, untried), "app iris"))
    assert (warned.verdict, "cannot be tried" in warned.detail) == ("warning", True)


@pytest.mark.engine
async def test_with_an_engine_the_builder_and_the_gateway_are_tried(
    tmp_path: Path, repository: Path, base_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    found = {one.what: one.verdict for one in await check(_config(tmp_path, repository))}
    assert (found["engine"], found["builder"], found["gateway"]) == ("ok", "ok", "ok")


@pytest.mark.engine
async def test_with_podman_it_is_told_where_podman_differs(
    tmp_path: Path, repository: Path, base_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def podman(_: EngineClient) -> bool:
        return True

    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    monkeypatch.setattr(EngineClient, "is_podman", podman)
    lines = {one.detail for one in await check(_config(tmp_path, repository)) if one.verdict == "warning"}
    assert {NO_NETWORK, UNSTOPPABLE} <= lines


@pytest.mark.engine
async def test_each_certificate_is_opened_and_a_host_without_one_is_told(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    directory = tmp_path / "certificates"
    directory.mkdir()
    (directory / "a.pem").write_bytes(b"".join(made(tmp_path, "a.example.com")))
    (directory / "b.pem").write_bytes(made(tmp_path, "b.example.com")[0])
    monkeypatch.setenv("DOCKER_HOST", engine)
    config = _config(tmp_path, repository)
    hosts = 'listen = 8000\nhosts = ["a.example.com", "c.example.com"]'
    gateway = f'[gateway]\nhttps_port = 8443\ncertificates = "{directory}"\n'
    config.write_text(gateway + config.read_text().replace("listen = 8000", hosts))
    good, bad, host = await _found(config, "certificate")
    assert (good.verdict, good.detail.partition(", until")[0]) == ("ok", f"{directory}/a.pem: a.example.com")
    assert (bad.verdict, bad.detail) == ("wrong", f"{directory}/b.pem holds no private key")
    assert bad.hint == "append the key, or put it beside it as b.pem.key"
    assert (host.verdict, host.detail) == ("warning", "app.iris.gateway.hosts: none names c.example.com")
