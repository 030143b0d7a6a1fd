"""The gateway's container while somebody else acts on it."""

from pathlib import Path
from typing import Any, cast

import pytest

from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.gateway.container import GatewayContainer


class _Removing:
    """An engine that is just removing the gateway's container: it refuses to start it, and has none of the name afterwards."""

    def __init__(self) -> None:
        self.there: dict[str, Any] | None = {
            "Id": "0a1b",
            "Config": {"Labels": {"io.deployd.instance": "here"}},
            "HostConfig": {"Binds": []},
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
