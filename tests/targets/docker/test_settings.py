"""What becomes of a changed [gateway] when deployd is started again before an HAProxy that serves."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.errors import Unavailable
from deployd.gates.ready import ReadyGate
from deployd.gateway.text import Listeners, read, render
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress
from tests.fakes import FakeMade
from tests.targets.docker.load import Load
from tests.targets.docker.test_frontends import certificate
from tests.targets.docker.traffic import answer, answered, watched
from tests.targets.docker.world import NAME, a_deploy, an_app, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]

Restarted = Callable[[GatewaySection], DockerTarget]
HOST = "a.example.com"


@pytest.fixture
def restarted(engine: str, instance: str, web: Image, tmp_path: Path) -> Restarted:
    """A daemon's target, as it is after a restart with these settings."""
    return lambda section: DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), engine)


def on_both_ports(number: int, port: int) -> App:
    """An app with a port of its own and a host name."""
    app = an_app(number, listen=port)
    return app.model_copy(update={"gateway": app.gateway.model_copy(update={"hosts": (HOST,)})})


async def rolled_out(target: DockerTarget, number: int, image: Image, port: int) -> None:
    await target.roll_out(on_both_ports(number, port), a_deploy(number, image), image, FakeProgress(ReadyGate()))


async def by_name(url: str, context: ssl.SSLContext | None = None) -> str:
    """What the app answers to its host name there; empty while nobody answers."""
    async with httpx.AsyncClient(trust_env=False, verify=context or False) as http:
        request = http.build_request("GET", url, headers={"Host": HOST}, extensions={"sni_hostname": HOST})
        with suppress(httpx.TransportError):
            return (await http.send(request)).text
        return ""


async def until(asked: Callable[[], object], load: Load | None = None) -> None:
    """Until it is so, while clients go on asking; the test's time limit is the deadline."""
    while not asked():
        await (load.more(20) if load is not None else asyncio.sleep(0.05))


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


async def test_other_ports_are_opened_under_load_without_a_failed_request(restarted: Restarted, web: Image) -> None:
    port, before, after, stats = free_port(), free_port(), free_port(), free_port()
    async with restarted(GatewaySection(bind="127.0.0.1", http_port=before)) as target:
        await rolled_out(target, 1, web, port)
        assert await by_name(f"http://127.0.0.1:{before}") == commit(1)

    async with Load(port) as load:
        section = GatewaySection(bind="0.0.0.0", http_port=after, stats_port=stats)
        async with restarted(section) as later, watched(later):
            while await by_name(f"http://127.0.0.1:{after}") != commit(1):
                await load.more(20)
            await load.more(300)
        assert "haproxy_server_" in (await answer(stats, "/metrics")).text
        assert await by_name(f"http://127.0.0.1:{before}") == ""
    assert load.failures == []


async def test_tls_is_added_under_load_without_a_failed_request(
    restarted: Restarted, web: Image, tmp_path: Path, docker_engine: Engine, instance: str
) -> None:
    port, plain, secure = free_port(), free_port(), free_port()
    async with restarted(GatewaySection(bind="127.0.0.1", http_port=plain)) as target:
        await rolled_out(target, 1, web, port)
    (tmp_path / "certificates").mkdir()
    context = ssl.create_default_context(cadata=certificate(tmp_path / "certificates" / "a.pem", HOST))
    section = GatewaySection(
        bind="127.0.0.1", http_port=plain, https_port=secure, certificates=tmp_path / "certificates"
    )

    async with Load(port) as load, restarted(section) as later, watched(later):
        while await by_name(f"https://127.0.0.1:{secure}", context) != commit(1):
            await load.more(20)
        former = f"/containers/deployd-gateway-{instance}-old/json"
        await until(lambda: docker_engine.api().get(former) is None, load)
        await rolled_out(later, 2, web, port)
        await load.more(300)
    assert load.failures == []
    assert await by_name(f"https://127.0.0.1:{secure}", context) == commit(2)
    assert await by_name(f"http://127.0.0.1:{plain}") == commit(2)


async def test_settings_that_haproxy_cannot_use_change_neither_the_traffic_nor_the_file(
    restarted: Restarted,
    web: Image,
    tmp_path: Path,
    docker_engine: Engine,
    instance: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port, secure, directory = free_port(), free_port(), tmp_path / "certificates"
    async with restarted(GatewaySection(bind="127.0.0.1")) as target:
        await rolled_out(target, 1, web, port)
    directory.mkdir()
    context = ssl.create_default_context(cadata=certificate(directory / "a.pem", HOST))
    (directory / "a.pem.ocsp").write_text("only HAProxy can tell that this is no OCSP response")
    section = GatewaySection(bind="127.0.0.1", https_port=secure, certificates=directory)

    async with Load(port) as load, restarted(section) as later:
        async with watched(later):
            await until(lambda: "the gateway keeps its old settings" in caplog.text, load)
        with pytest.raises(Unavailable, match="the gateway keeps its old settings") as refused:
            await rolled_out(later, 2, web, port)
        assert "a.pem.ocsp" in refused.value.hint
        assert "a.pem.ocsp" in caplog.text  # HAProxy's own words
        assert (await later.ping())["gateway"].startswith("the gateway keeps its old settings")
        assert await later.serving(on_both_ports(1, port)) == 1
    assert load.failures == []

    docker_engine.api().post(f"/containers/deployd-gateway-{instance}/restart?t=0")
    await answered(port, commit(1))

    (directory / "a.pem.ocsp").unlink()
    async with restarted(section) as mended:
        await rolled_out(mended, 2, web, port)
        assert await by_name(f"https://127.0.0.1:{secure}", context) == commit(2)
        assert (await mended.ping())["gateway"] == "ok"


async def test_a_gateway_port_in_use_changes_nothing(restarted: Restarted, web: Image) -> None:
    port, taken = free_port(), free_port()
    async with restarted(GatewaySection(bind="127.0.0.1")) as target:
        await rolled_out(target, 1, web, port)

    async with Load(port) as load, restarted(GatewaySection(bind="127.0.0.1", http_port=taken)) as later:
        with listening(taken):
            with pytest.raises(Unavailable, match=f"port {taken} is in use by another program") as refused:
                await rolled_out(later, 2, web, port)
            await load.more(200)
        assert refused.value.hint == "stop it, or set another gateway.http_port"
        assert load.failures == []
        await rolled_out(later, 2, web, port)
        assert await by_name(f"http://127.0.0.1:{taken}") == commit(2)


async def test_a_config_file_that_was_written_but_not_loaded_is_loaded_at_the_start(
    restarted: Restarted, web: Image, tmp_path: Path
) -> None:
    port, shared, file = free_port(), free_port(), tmp_path / "gateway" / "config" / "haproxy.cfg"
    async with restarted(GatewaySection(bind="127.0.0.1")) as target:
        await rolled_out(target, 1, web, port)
    section = GatewaySection(bind="127.0.0.1", http_port=shared)
    file.write_text(render(Listeners.of(section, bridge=False), read(file.read_text())))

    async with Load(port) as load, restarted(section) as later:
        assert await later.serving(on_both_ports(1, port)) == 1
        assert await by_name(f"http://127.0.0.1:{shared}") == commit(1)
        await load.more(200)
    assert load.failures == []


async def test_on_a_bridge_new_settings_replace_the_container_or_keep_it(
    restarted: Restarted, web: Image, leaks: Leaks
) -> None:
    port, shared, taken = free_port(), free_port(), free_port()
    async with restarted(GatewaySection(network="bridge", bind="127.0.0.1")) as target:
        await rolled_out(target, 1, web, port)

    async with restarted(GatewaySection(network="bridge", bind="127.0.0.1", http_port=taken)) as refused:
        with listening(taken), pytest.raises(Unavailable, match="the gateway keeps its old settings"):
            await rolled_out(refused, 2, web, port)
        await answered(port, commit(1))

    async with restarted(GatewaySection(network="bridge", bind="127.0.0.1", http_port=shared)) as later:
        await rolled_out(later, 2, web, port)
        assert await by_name(f"http://127.0.0.1:{shared}") == commit(2)
        assert (await answer(port)).text == commit(2)
        await later.remove(NAME)
    assert leaks.present() == []
