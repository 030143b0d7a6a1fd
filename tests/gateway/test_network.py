import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.bringup import images
from deployd.domain import part_labels
from deployd.engine.client import EngineClient
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
