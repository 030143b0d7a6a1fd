"""Traffic does not need deployd: it is stopped, killed, upgraded and reconfigured, and no request is lost."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import remove
from deployd.bringup.load import Load
from deployd.bringup.ports import free_port
from deployd.client import Client
from deployd.errors import RequestRefused
from deployd.status import Status
from tests.e2e.world import CONFIG, REST, WHO, World
from tests.e2e.world import world as make_world

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_RESTARTS = 8
_WITHIN_S = 60.0

_ANOTHER_APP = """
[[app]]
name = "{app}-two"
repo = "file://{remote}"
webhook = "github.com/acme/iris"
branch = "main"
[app.docker]
drain = "5s"
stop_timeout = "2s"
[app.gateway]
listen = {port}
[app.ready]
path = "/"
every = "50ms"
commit_path = "/"
"""


async def _answers(url: str, good: Callable[[httpx.Response], bool]) -> None:
    async with asyncio.timeout(_WITHIN_S), httpx.AsyncClient(trust_env=False, timeout=5, verify=False) as client:
        while True:
            with suppress(httpx.TransportError):
                if good(await client.get(url)):
                    return
            await asyncio.sleep(0.05)


async def _until(so: Callable[[], bool]) -> None:
    """Wait for another process: it sends no event that a test could await."""
    async with asyncio.timeout(_WITHIN_S):
        while not so():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)


async def test_eight_restarts_of_deployd_lose_no_request(world: World) -> None:
    live = await world.ended(await world.push())
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        for number in range(_RESTARTS):
            process = world.daemon.process
            assert process is not None
            process.send_signal(signal.SIGKILL if number % 4 == 3 else signal.SIGTERM)
            async with asyncio.timeout(_WITHIN_S):
                await process.wait()
            sent = load.sent
            await load.reached(sent + 50)
            await world.daemon.start()
            await world.daemon.wait_until_ready()
        newer = await world.ended(await world.push())
        await load.reached(load.sent + 200)
    print(f"{load.sent} requests, {len(load.failures)} failed, over {_RESTARTS} restarts")
    assert load.failures == []
    assert [client.turns for client in load.clients] == [[live.commit, newer.commit]] * 4


async def test_another_gateway_image_takes_over_under_load(
    tmp_path: Path, docker_engine: Engine, base_images: object
) -> None:
    tag = "deployd-test/haproxy-e2e"
    api, instance = docker_engine.api(timeout=60), ""

    def make(version: int) -> None:
        label = f"LABEL io.deployd.instance=test-{tmp_path.name[-20:]} version={version}\n"
        images.build(api, f"{tag}:{version}", f"FROM {images.HAPROXY}\n{label}", {})

    for version in (1, 2):
        make(version)
    try:
        async with make_world(tmp_path, CONFIG.replace("[git]", f'[gateway]\nimage = "{tag}:1"\n[git]')) as world:
            instance = world.daemon.instance
            name = f"/containers/deployd-gateway-{instance}"
            first = await world.ended(await world.push())
            load = Load(world.daemon.public_url, rest=REST)
            async with load.running(WHO):
                config = tmp_path / "config.toml"
                config.write_text(config.read_text().replace(f"{tag}:1", f"{tag}:2"))
                await world.daemon.stop()
                await world.daemon.start()
                await world.daemon.wait_until_ready()
                wanted = api.get(f"/images/{tag}:2/json")["Id"]
                await _until(lambda: (api.get(f"{name}/json") or {}).get("Image") == wanted)
                await _until(lambda: api.get(f"{name}-old/json") is None)
                await load.reached(load.sent + 500)
                second = await world.ended(await world.push())
                await load.reached(load.sent + 500)
            print(world.daemon.log.read_text())
            assert second.status is Status.LIVE
            assert load.failures == []
            assert [client.turns for client in load.clients] == [[first.commit, second.commit]] * 4
    finally:
        remove(api, instance)
        for version in (1, 2):
            api.delete(f"/images/{tag}:{version}?force=1")


async def test_a_reload_adds_an_app_refuses_a_broken_file_and_keeps_a_removed_app_serving(
    world: World, docker_engine: Engine
) -> None:
    first = await world.ended(await world.push())
    config, process = world.daemon.directory / "config.toml", world.daemon.process
    assert process is not None
    before = config.read_text()
    port, two = free_port(), f"{world.app}-two"
    url = f"http://127.0.0.1:{port}"
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        config.write_text(before + _ANOTHER_APP.format(app=world.app, remote=world.daemon.remote, port=port))
        process.send_signal(signal.SIGHUP)
        await _answers(url, lambda answer: answer.status_code in {200, 503})
        await _answers(url, lambda answer: answer.text == first.commit)

        config.write_text(config.read_text().replace("stop_timeout", "stop_timout"))
        with pytest.raises(RequestRefused, match="stop_timout") as refused:
            await world.client.reload()
        assert "stop_timeout" in f"{refused.value.message} {refused.value.hint}"
        process.send_signal(signal.SIGHUP)
        await _until(lambda: "The old config stays" in world.daemon.log.read_text())
        assert {app.name for app in await world.client.apps()} == {world.app, two}

        config.write_text(before.replace('poll_every = "1h"', 'poll_every = "2h"\ntimeout = "90s"'))
        answer = await world.client.reload()
        assert (answer.apps, answer.needs_restart) == ([world.app], ["git.timeout"])
        await _answers(url, lambda answer: answer.text == first.commit)
        second = await world.ended(await world.push())
        await _answers(url, lambda answer: answer.text == first.commit)

        async with Client(world.daemon.api) as client:
            await client.remove(two)
        names = [one["Names"][0] for one in docker_engine.api().get("/containers/json?all=1")]
        assert not [name for name in names if two in name]
        with pytest.raises(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False, verify=False) as client_of_the_app:
                await client_of_the_app.get(url)
        await load.reached(load.sent + 200)
    assert load.failures == []
    assert [client.turns for client in load.clients] == [[first.commit, second.commit]] * 4
