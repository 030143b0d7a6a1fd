import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.bringup import images
from deployd.domain import part_labels
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import Unavailable
from deployd.gateway.network import Network, free_address
from tests.conftest import Leaks


def test_the_first_address_follows_that_of_the_network_s_gateway() -> None:
    assert free_address("172.20.0.0/16", set()) == "172.20.0.2"


def test_a_freed_address_is_reused_last() -> None:
    assert free_address("172.20.0.0/29", {"172.20.0.3"}, after="172.20.0.3") == "172.20.0.4"
    assert free_address("172.20.0.0/29", {"172.20.0.3"}, after="172.20.0.6") == "172.20.0.2"


def test_a_full_network_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no free address"):
        free_address("172.20.0.0/30", {"172.20.0.2"})


@given(st.sets(st.integers(2, 14)), st.integers(2, 14))
def test_an_assigned_address_is_free_and_in_the_subnet(taken: set[int], last: int) -> None:
    used = {f"172.20.0.{n}" for n in taken}
    if len(taken) == 13:
        with pytest.raises(Unavailable):
            free_address("172.20.0.0/28", used, f"172.20.0.{last}")
        return
    found = free_address("172.20.0.0/28", used, f"172.20.0.{last}")
    assert found not in used
    assert 2 <= int(found.rpartition(".")[2]) <= 14


class Networks:
    """An engine that always suggests its first free range; somebody else takes those of `wanted` as soon as they are free."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = set(wanted)
        self.made: dict[str, Any] = {}

    async def find(self, name: str) -> dict[str, Any] | None:
        return self.made.get(name)

    async def create(self, name: str, spec: Mapping[str, Any]) -> None:
        given = spec["IPAM"]["Config"][0]["Subnet"] if "IPAM" in spec else None
        if given in self.wanted:
            self.wanted.remove(given)
            self.made[given] = {"IPAM": {"Config": [{"Subnet": given}]}}
            raise Refused(f"making the network {name}", "Pool overlaps with other one on this address space", 403)
        taken = {network["IPAM"]["Config"][0]["Subnet"] for network in self.made.values()}
        free = next(f"172.{number}.0.0/16" for number in range(18, 30) if f"172.{number}.0.0/16" not in taken)
        self.made[name] = {"IPAM": {"Config": [{"Subnet": given or free}]}, "Labels": spec["Labels"]}

    async def remove(self, name: str) -> bool:
        return self.made.pop(name, None) is not None


class Engine:
    """One with nothing but networks."""

    def __init__(self, *wanted: str) -> None:
        self.networks = Networks(*wanted)


async def test_a_range_that_another_instance_takes_first_is_left_to_it() -> None:
    engine = Engine("172.18.0.0/16", "172.19.0.0/16")
    assert await Network(cast("EngineClient", engine), "a").ensure() == "172.20.0.0/16"
    assert "deployd-a.range" not in engine.networks.made


async def test_an_engine_that_refuses_every_range_has_its_reason_told() -> None:
    engine = Engine(*(f"172.{number}.0.0/16" for number in range(18, 30)))
    with pytest.raises(Refused, match="Pool overlaps"):
        await Network(cast("EngineClient", engine), "a").ensure()


@pytest.mark.engine
@pytest.mark.usefixtures("base_images")
async def test_a_temporary_network_left_by_a_crash_is_not_used_as_the_instances_network(
    engine: str, instance: str, leaks: Leaks
) -> None:
    async with EngineClient(engine) as there:
        network = Network(there, instance)
        await network._create(network._suggestion, None)
        first, second = await asyncio.gather(network.ensure(), network.ensure())
        assert first == second
        assert leaks.present() == [f"network deployd-{instance}"]
        made = await there.containers.create(
            f"deployd-{instance}-probe",
            {
                "Image": images.PYTHON,
                "Labels": part_labels(instance, "probe"),
                "HostConfig": {"NetworkMode": network.name},
                "NetworkingConfig": {
                    "EndpointsConfig": {network.name: {"IPAMConfig": {"IPv4Address": await network.free_address()}}}
                },
            },
        )
        try:
            await there.containers.start(made)
        finally:
            await there.containers.remove(made)
        await network.remove()
        assert leaks.present() == []
