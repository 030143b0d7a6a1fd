"""The network of one instance, in which its containers have addresses that stay theirs.

An engine gives out addresses anew when it restarts, so that one app's traffic could reach another's container until somebody
corrected the gateway. Here each container asks for its own address, which needs a network whose subnet was asked for, too.
"""

import asyncio
import ipaddress
from collections.abc import Collection
from typing import Any

from deployd.domain import part_labels
from deployd.engine.client import EngineClient
from deployd.errors import Unavailable


def free_address(subnet: str, taken: Collection[str], after: str | None = None) -> str:
    """The first address behind `after` that nobody has, going round; never the network's own, its gateway or broadcast.

    An address that was just given up is thus the last to be used again.
    """
    network = ipaddress.ip_network(subnet)
    first, count = int(network.network_address) + 2, network.num_addresses - 3
    start = (int(ipaddress.ip_address(after)) - first + 1) if after is not None else 0
    for step in range(min(count, len(taken) + 1)):
        address = str(ipaddress.ip_address(first + (start + step) % count))
        if address not in taken:
            return address
    raise Unavailable(f"the network {subnet} has no free address")


class Network:
    """The instance's network on the engine."""

    def __init__(self, engine: EngineClient, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self.name = f"deployd-{instance}"
        self._suggestion = f"{self.name}-range"
        self._making = asyncio.Lock()
        self._last: str | None = None

    async def ensure(self) -> str:
        """Its subnet; the network is made where it is not there."""
        async with self._making:
            if (found := await self._engine.networks.find(self.name)) is None:
                await self._create(self.name, await self._free_range())
                found = await self._engine.networks.find(self.name)
        if found is None:
            raise Unavailable(f"the network {self.name} does not stay")
        if found["Labels"].get("io.deployd.instance") != self._instance:
            raise Unavailable(
                f"the network {self.name} is not this deployd's", hint="remove it or set another server.instance"
            )
        return str(found["IPAM"]["Config"][0]["Subnet"])

    async def free_address(self) -> str:
        """An address that no container of the network has or will come back to."""
        subnet = await self.ensure()
        attached = await self._engine.containers.list({}, network=self.name)
        self._last = free_address(subnet, {self.address(container) for container in attached}, self._last)
        return self._last

    def address(self, container: dict[str, Any]) -> str:
        """The address of a listed or inspected container in this network, running or not; empty when it has none."""
        attached = container["NetworkSettings"]["Networks"].get(self.name) or {}
        return str((attached.get("IPAMConfig") or {}).get("IPv4Address") or attached.get("IPAddress") or "")

    async def remove(self) -> None:
        """Take it away, if it is there and nobody is in it."""
        await self._engine.networks.remove(self._suggestion)
        await self._engine.networks.remove(self.name)

    async def _free_range(self) -> str | None:
        """A subnet that nobody on this machine has, as the engine knows: what it gives to a network that asks for none.

        That one has a name of its own: were we killed here, it must not be taken for the instance's.
        """
        await self._engine.networks.remove(self._suggestion)
        await self._create(self._suggestion, None)
        suggested = await self._engine.networks.find(self._suggestion)
        await self._engine.networks.remove(self._suggestion)
        return str(suggested["IPAM"]["Config"][0]["Subnet"]) if suggested else None

    async def _create(self, name: str, subnet: str | None) -> None:
        spec: dict[str, Any] = {"Driver": "bridge", "Labels": part_labels(self._instance, "network")}
        if subnet is not None:
            spec["IPAM"] = {"Config": [{"Subnet": subnet}]}
        await self._engine.networks.create(name, spec)
