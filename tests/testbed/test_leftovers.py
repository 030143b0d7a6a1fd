import pytest

from deployd.bringup.api import EngineApi
from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import leftovers, remove
from deployd.errors import Unavailable
from tests.conftest import Leaks
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.engine


def start_container(engine: Engine, instance: str) -> str:
    wanted = {"Image": BUSYBOX, "Cmd": ["sleep", "600"], "Labels": {"io.deployd.instance": instance}}
    made: dict[str, str] = engine.api().post("/containers/create", wanted)
    engine.api().post(f"/containers/{made['Id']}/start")
    name: str = engine.api().get(f"/containers/{made['Id']}/json")["Name"]
    return name.removeprefix("/")


def test_a_container_a_network_and_a_volume_are_found_by_their_label_and_removed(
    base_images: Engine, instance: str
) -> None:
    api = base_images.api()
    labels = {"io.deployd.instance": instance}
    container = start_container(base_images, instance)
    api.post("/networks/create", {"Name": f"net-{instance}", "Labels": labels})
    api.post("/volumes/create", {"Name": f"vol-{instance}", "Labels": labels})
    found = [str(thing) for thing in remove(api, instance)]
    assert found == [f"container {container}", f"network net-{instance}", f"volume vol-{instance}"]
    assert leftovers(api, instance) == []


def test_objects_of_another_instance_stay(base_images: Engine, instance: str) -> None:
    api = base_images.api()
    container = start_container(base_images, instance)
    assert remove(api, f"{instance}-other") == []
    assert [str(thing) for thing in leftovers(api, instance)] == [f"container {container}"]


class Kubelet(EngineApi):
    """An engine on which the first `returns` removals of a container have no effect."""

    def __init__(self, url: str, returns: int) -> None:
        super().__init__(url)
        self.returns = returns

    def delete(self, path: str) -> bool:
        if path.startswith("/containers/") and self.returns:
            self.returns -= 1
            return True
        return super().delete(path)


def test_a_container_that_comes_back_is_removed_again(base_images: Engine, instance: str) -> None:
    container = start_container(base_images, instance)
    found = remove(Kubelet(base_images.url, returns=2), instance)
    assert [str(thing) for thing in found] == [f"container {container}"]
    assert leftovers(base_images.api(), instance) == []


def test_a_container_that_cannot_be_removed_is_named(base_images: Engine, instance: str) -> None:
    container = start_container(base_images, instance)
    with pytest.raises(Unavailable, match=f"cannot be removed: container {container}"):
        remove(Kubelet(base_images.url, returns=99), instance, within=0.5)


def test_an_expected_leftover_is_no_leak(base_images: Engine, leaks: Leaks) -> None:
    container = start_container(base_images, leaks.instance)
    found = leftovers(base_images.api(), leaks.instance)
    assert leaks.unexpected(found) == [f"container {container}"]
    leaks.expect("container *")
    assert leaks.unexpected(found) == []
