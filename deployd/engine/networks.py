"""The calls of the Engine API about networks."""

import json
from collections.abc import Mapping
from typing import Any

from deployd.engine.connection import Connection, Refused


class EngineNetworks:
    """All networks on one engine, not only ours."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, name: str) -> dict[str, Any] | None:
        """The engine's description of the network with exactly this name; None when it does not exist."""
        query = {"filters": json.dumps({"name": [name]})}
        found = await self._connection.ask(f"looking for the network {name}", "networks", query=query)
        return next((network for network in found if network["Name"] == name), None)

    async def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Create one. Refused when one with that name exists."""
        body = {"Name": name, "CheckDuplicate": True, **spec}
        await self._connection.ask(f"making the network {name}", "networks/create", "POST", body=body)

    async def join(self, name: str, container: str, address: str | None = None) -> None:
        """Connect a container to the network, at a fixed address if one is given."""
        doing, body = f"putting {container} into the network {name}", {"Container": container}
        settings = {"EndpointConfig": {"IPAMConfig": {"IPv4Address": address}}} if address is not None else {}
        await self._connection.ask(doing, f"networks/{name}/connect", "POST", body=body | settings)

    async def remove(self, name: str) -> bool:
        """Remove it. False when containers are in it."""
        try:
            await self._connection.find(f"removing the network {name}", f"networks/{name}", "DELETE")
        except Refused as refused:
            if refused.status not in {403, 409}:  # Podman answers 409
                raise
            return False
        return True
