import pytest

from deployd.demo.engine import Engine
from deployd.demo.leftovers import leftovers, remove
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


def test_what_another_instance_made_stays(base_images: Engine, instance: str) -> None:
    api = base_images.api()
    container = start_container(base_images, instance)
    assert remove(api, f"{instance}-other") == []
    assert [str(thing) for thing in leftovers(api, instance)] == [f"container {container}"]


def test_only_what_was_not_expected_counts_as_a_leak(base_images: Engine, leaks: Leaks) -> None:
    container = start_container(base_images, leaks.instance)
    found = leftovers(base_images.api(), leaks.instance)
    assert leaks.unexpected(found) == [f"container {container}"]
    leaks.expect("container *")
    assert leaks.unexpected(found) == []
