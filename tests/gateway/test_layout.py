import os
from dataclasses import replace
from pathlib import Path

from deployd.gateway.layout import Layout, container_spec, layout_hash

LAYOUT = Layout("here", "haproxy:lts", Path("/var/lib/deployd/gateway"), "sockets-a")


def test_on_the_host_network_no_port_is_published_and_the_master_socket_is_a_file() -> None:
    spec = container_spec(LAYOUT)
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


def test_on_a_bridge_the_ports_are_published_and_the_master_cli_on_loopback_only() -> None:
    layout = Layout(
        "here", "haproxy:lts", Path("/state"), "sockets-a", network="deployd-here", ports=((8000, "0.0.0.0"),)
    )
    bindings = container_spec(layout)["HostConfig"]["PortBindings"]
    assert bindings == {
        "8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}],
        "9764/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
    }


def test_a_replacement_takes_over_the_listening_sockets() -> None:
    layout = Layout("here", "haproxy:lts", Path("/state"), "sockets-b", takes_over=Path("/state/sockets-a"))
    spec = container_spec(layout)
    assert spec["Cmd"][-2:] == ["-x", "/run/deployd-previous/admin.sock"]
    assert "/state/sockets-a:/run/deployd-previous" in spec["HostConfig"]["Binds"]


def test_haproxy_sees_deployd_s_copies_of_the_certificates_and_not_the_operator_s_directory() -> None:
    binds = container_spec(replace(LAYOUT, tls=True))["HostConfig"]["Binds"]
    assert binds[-1] == "/var/lib/deployd/gateway/certificates:/etc/deployd-certificates:ro"


def test_it_is_labelled_restarted_by_the_engine_and_has_few_capabilities() -> None:
    spec = container_spec(LAYOUT)
    assert spec["Labels"] == {
        "io.deployd.instance": "here",
        "io.deployd.part": "gateway",
        "io.deployd.sockets": "sockets-a",
        "io.deployd.shape": layout_hash(LAYOUT),
    }
    assert spec["HostConfig"]["RestartPolicy"] == {"Name": "always"}
    assert spec["HostConfig"]["CapDrop"] == ["ALL"]
    assert spec["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_other_mounts_or_another_network_give_another_hash() -> None:
    for other in ({"tls": True}, {"network": "deployd-here"}, {"directory": Path("/else")}):
        assert layout_hash(replace(LAYOUT, **other)) != layout_hash(LAYOUT)


def test_another_image_other_sockets_and_more_ports_give_the_same_hash() -> None:
    successor = replace(LAYOUT, image="haproxy:3", sockets="sockets-b", takes_over=Path("/state/sockets-a"))
    assert layout_hash(successor) == layout_hash(LAYOUT)
    bridge = replace(LAYOUT, network="deployd-here")
    assert layout_hash(replace(bridge, ports=((8000, "0.0.0.0"),))) == layout_hash(bridge)
