from deployd.engine.podman import heeded, mounting

SPEC = {
    "Image": "sha256:1",
    "Labels": {"a": "b"},
    "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/x", "Target": "/y", "ReadOnly": True}], "Memory": 7},
}


def test_gpus_are_asked_for_as_cdi_devices() -> None:
    def asked(count: int) -> list[str]:
        request = {"Driver": "", "Count": count, "Capabilities": [["gpu"]]}
        (one,) = heeded({"HostConfig": {"DeviceRequests": [request]}})["HostConfig"]["DeviceRequests"]
        assert one["Driver"] == "cdi"
        devices: list[str] = one["DeviceIDs"]
        return devices

    assert asked(-1) == ["nvidia.com/gpu=all"]
    assert asked(2) == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]


def test_everything_else_is_asked_for_as_of_docker() -> None:
    assert heeded(SPEC) == SPEC
    assert heeded({"Image": "x"}) == {"Image": "x", "HostConfig": {}}


def test_the_paths_of_the_host_are_put_into_podmans_words() -> None:
    assert mounting("web-1", SPEC) == {
        "image": "sha256:1",
        "name": "web-1",
        "labels": {"a": "b"},
        "mounts": [{"Type": "bind", "Source": "/x", "Destination": "/y"}],
    }
    assert mounting("web-1", {"Image": "x"}) is None
    assert mounting("web-1", {"Image": "x", "HostConfig": {"Mounts": []}}) is None
