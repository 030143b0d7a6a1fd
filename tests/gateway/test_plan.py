import os
from dataclasses import replace
from pathlib import Path

from deployd.gateway.plan import Plan, container_spec, shape

PLAN = Plan("here", "haproxy:lts", Path("/var/lib/deployd/gateway"), "sockets-a")


def test_on_the_host_network_it_binds_the_ports_itself_and_is_reached_by_a_socket() -> None:
    spec = container_spec(PLAN)
    assert spec["HostConfig"]["NetworkMode"] == "host"
    assert spec["HostConfig"]["PortBindings"] == {}
    assert (
        spec["Cmd"][spec["Cmd"].index("-S") + 1]
        == f"/run/deployd/master.sock,uid,{os.getuid()},gid,{os.getgid()},mode,600"
    )
    assert spec["HostConfig"]["Binds"] == [
        "/var/lib/deployd/gateway/config:/etc/deployd:ro",
        "/var/lib/deployd/gateway/sockets-a:/run/deployd",
    ]


def test_on_a_bridge_its_ports_are_published_and_its_control_on_loopback_alone() -> None:
    plan = Plan("here", "haproxy:lts", Path("/state"), "sockets-a", network="deployd-here", ports=((8000, "0.0.0.0"),))
    bindings = container_spec(plan)["HostConfig"]["PortBindings"]
    assert bindings == {
        "8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}],
        "9764/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
    }


def test_a_newer_one_takes_over_the_sockets_of_the_former() -> None:
    plan = Plan("here", "haproxy:lts", Path("/state"), "sockets-b", takes_over=Path("/state/sockets-a"))
    spec = container_spec(plan)
    assert spec["Cmd"][-2:] == ["-x", "/run/deployd-previous/admin.sock"]
    assert "/state/sockets-a:/run/deployd-previous" in spec["HostConfig"]["Binds"]


def test_it_is_ours_comes_back_by_itself_and_may_do_little() -> None:
    spec = container_spec(PLAN)
    assert spec["Labels"] == {
        "io.deployd.instance": "here",
        "io.deployd.part": "gateway",
        "io.deployd.sockets": "sockets-a",
        "io.deployd.shape": shape(PLAN),
    }
    assert spec["HostConfig"]["RestartPolicy"] == {"Name": "always"}
    assert spec["HostConfig"]["CapDrop"] == ["ALL"]
    assert spec["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_other_mounts_or_another_network_make_another_shape() -> None:
    for other in ({"certificates": Path("/certificates")}, {"network": "deployd-here"}, {"directory": Path("/else")}):
        assert shape(replace(PLAN, **other)) != shape(PLAN)


def test_a_successor_of_another_image_and_with_more_ports_has_the_same_shape() -> None:
    successor = replace(PLAN, image="haproxy:3", sockets="sockets-b", takes_over=Path("/state/sockets-a"))
    assert shape(successor) == shape(PLAN)
    bridge = replace(PLAN, network="deployd-here")
    assert shape(replace(bridge, ports=((8000, "0.0.0.0"),))) == shape(bridge)
