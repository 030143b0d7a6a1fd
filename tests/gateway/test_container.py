"""The gateway's container while somebody else acts on it."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.gateway.container import GatewayContainer
from deployd.gateway.paths import SOCKETS


class _Removing:
    """An engine that is just removing the gateway's container: it refuses to start it, and has none of the name afterwards."""

    def __init__(self) -> None:
        self.there: dict[str, Any] | None = {
            "Id": "0a1b",
            "Config": {"Labels": {"io.deployd.instance": "here"}},
            "HostConfig": {"NetworkMode": "host", "Binds": []},
            "State": {"Status": "removing", "Running": False, "Restarting": False},
        }
        self.did: list[str] = []

    async def inspect(self, name: str) -> dict[str, Any] | None:
        return self.there if not name.endswith("-old") else None

    async def remove(self, container: str) -> None:
        self.did.append(f"waited for the removal of {container}")
        self.there = None

    async def start(self, name: str) -> None:
        assert self.there is None, "container is marked for removal and cannot be started"
        self.did.append("started")


async def test_a_gateway_that_somebody_is_removing_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def made(_self: GatewayContainer, *_: object, **__: object) -> None:
        removing.did.append("made")

    async def ready(*_: object, **__: object) -> None:
        pass

    removing = _Removing()
    engine: Any = type("Engine", (), {"containers": removing})()
    monkeypatch.setattr(GatewayContainer, "_create", made)
    monkeypatch.setattr(GatewayContainer, "wait_ready", ready)
    container = GatewayContainer(cast("EngineClient", engine), "here", GatewaySection(), tmp_path)
    assert await container.ensure([])
    assert removing.did == ["waited for the removal of 0a1b", "made", "started"]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as HAProxy's master."""
    asked = await reader.read()
    writer.write(b"1 master 0 0d 3.2\n7 worker 0 0d 3.2\n" if asked == b"show proc\n" else b"Name: HAProxy\n")
    writer.close()


class _Starting:
    """An engine on which the gateway's container runs. HAProxy opens its master socket when it was looked for three times."""

    def __init__(self, sockets: Path) -> None:
        self._master = sockets / "master.sock"
        self.asked = 0

    async def inspect(self, _: str) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 3:
            self.server = await asyncio.start_unix_server(_answer, self._master)
        return {
            "Config": {"Labels": {"io.deployd.instance": "here"}},
            "HostConfig": {"NetworkMode": "host", "Binds": [f"{self._master.parent}:{SOCKETS}"]},
            "State": {"Status": "running", "Running": True, "Restarting": False},
            "RestartCount": 1,
        }


async def test_a_gateway_that_has_just_started_is_waited_for(tmp_path: Path) -> None:
    engine: Any = type("Engine", (), {"containers": (starting := _Starting(tmp_path))})()
    container = GatewayContainer(cast("EngineClient", engine), "here", GatewaySection(), tmp_path)
    await container.wait_ready()
    async with starting.server:
        assert (await (await container.runtime()).workers()).current == 7


async def test_the_engine_is_asked_for_the_gateway_only_when_its_socket_is_gone(tmp_path: Path) -> None:
    engine: Any = type("Engine", (), {"containers": (starting := _Starting(tmp_path))})()
    container = GatewayContainer(cast("EngineClient", engine), "here", GatewaySection(), tmp_path)
    assert not await container.answers()
    await container.wait_ready()
    async with starting.server:
        asked = starting.asked
        assert await container.answers()
        await container.runtime()
        assert starting.asked == asked
        (tmp_path / "master.sock").unlink()
        assert not await container.answers()
        await container.runtime()
        assert starting.asked == asked + 1


class _Renamed:
    """An engine on which somebody removed the gateway's container while the one that it replaced still runs."""

    def __init__(self, sockets: Path, name: str) -> None:
        self.there = {name: self._described(sockets / "sockets-b")}
        self._old = self._described(sockets / "sockets-a")

    def somebody_removes_it(self, name: str) -> None:
        del self.there[name]
        self.there[f"{name}-old"] = self._old

    async def inspect(self, name: str) -> dict[str, Any] | None:
        return self.there.get(name)

    async def rename(self, _: str, name: str) -> None:
        self.there[name] = self.there.pop(f"{name}-old")

    @staticmethod
    def _described(sockets: Path) -> dict[str, Any]:
        return {
            "Id": sockets.name,
            "Config": {"Labels": {"io.deployd.instance": "here"}},
            "HostConfig": {"NetworkMode": "host", "Binds": [f"{sockets}:{SOCKETS}"]},
            "State": {"Status": "running", "Running": True, "Restarting": False},
            "RestartCount": 0,
        }


async def test_a_replaced_container_that_is_used_again_is_asked_at_its_own_socket(tmp_path: Path) -> None:
    for sockets in ("sockets-a", "sockets-b"):
        (tmp_path / sockets).mkdir()
    old = await asyncio.start_unix_server(_answer, tmp_path / "sockets-a" / "master.sock")
    new = await asyncio.start_unix_server(_answer, tmp_path / "sockets-b" / "master.sock")
    engine: Any = type("Engine", (), {})()
    container = GatewayContainer(cast("EngineClient", engine), "here", GatewaySection(), tmp_path)
    engine.containers = renamed = _Renamed(tmp_path, container.name)
    await container.wait_ready()
    new.close()  # its file stays, as that of a killed process does
    await new.wait_closed()
    renamed.somebody_removes_it(container.name)
    async with old:
        assert not await container.ensure([])
        assert await container.answers()
