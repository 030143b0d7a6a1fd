"""The network of one instance. Each of its containers has a fixed address.

Without fixed addresses, the engine assigns new ones when it restarts, and one app's traffic could reach another app's container
until the gateway is corrected. A container can have a fixed address only in a network with a fixed subnet.
"""

import asyncio
import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from deployd.domain import part_labels
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import Unavailable

_TRIES = 5


def free_address(subnet: str, taken: Collection[str], after: str | None = None) -> str:
    """The first free address after `after`; at the end of the subnet, the search continues at its start. Never the address of
    the network, of its gateway, or broadcast.

    So an address that was just freed is reused last.
    """
    network = ipaddress.ip_network(subnet)
    first, count = int(network.network_address) + 2, network.num_addresses - 3
    start = (int(ipaddress.ip_address(after)) - first + 1) if after is not None else 0
    for step in range(min(count, len(taken) + 1)):
        address = str(ipaddress.ip_address(first + (start + step) % count))
        if address not in taken:
            return address
    raise Unavailable(f"the network {subnet} has no free address")


ADDRESS = "io.deployd.address"
"""The label with the address that a container was given: Podman forgets the address of one that is stopped."""


class Network:
    """The instance's network on the engine."""

    def __init__(self, engine: EngineClient, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self.name = f"deployd-{instance}"
        self._suggestion = f"{self.name}.range"  # an instance has no dot: this is no other's network
        self._making = asyncio.Lock()
        self._last: str | None = None

    async def ensure(self) -> str:
        """Create the network when it does not exist. Its subnet."""
        async with self._making:
            if (found := await self._engine.networks.find(self.name)) is None:
                await self._create_in_a_free_range()
                found = await self._engine.networks.find(self.name)
        if found is None:
            raise Unavailable(f"the network {self.name} was created, but the engine does not have it")
        if found["Labels"].get("io.deployd.instance") != self._instance:
            raise Unavailable(
                f"the network {self.name} is not this deployd's", hint="remove it or set another server.instance"
            )
        return str(found["IPAM"]["Config"][0]["Subnet"])

    async def free_address(self) -> str:
        """An address that no container of the network has, running or stopped."""
        subnet = await self.ensure()
        attached = await self._engine.containers.list({}, network=self.name)
        self._last = free_address(subnet, {self.address(container) for container in attached}, self._last)
        return self._last

    def address(self, container: dict[str, Any]) -> str:
        """The address of a listed or inspected container in this network, running or stopped; empty when it has none."""
        if (attached := (container["NetworkSettings"].get("Networks") or {}).get(self.name)) is None:
            return ""
        found = (attached.get("IPAMConfig") or {}).get("IPv4Address") or attached.get("IPAddress")
        return str(found or _labels(container).get(ADDRESS, ""))

    async def remove(self) -> None:
        """Remove the network, unless containers are in it."""
        await self._engine.networks.remove(self._suggestion)
        found = await self._engine.networks.find(self.name)
        if found is not None and found["Labels"].get("io.deployd.instance") == self._instance:
            await self._engine.networks.remove(self.name)

    async def _create_in_a_free_range(self) -> None:
        """Create the network in a free range, and try again if another instance takes the range meanwhile."""
        for left in reversed(range(_TRIES)):
            subnet = await self._free_range()
            try:
                await self._create(self.name, subnet)
            except Refused:
                if left == 0 or subnet is None:
                    raise
            else:
                return

    async def _free_range(self) -> str | None:
        """A subnet that is free on this machine: the engine chooses one for a temporary network.

        The temporary network has another name, so that after a crash here it is not used as the instance's network.
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


def _labels(container: dict[str, Any]) -> Mapping[str, str]:
    """The labels of a listed or inspected container."""
    return container.get("Labels") or (container.get("Config") or {}).get("Labels") or {}
