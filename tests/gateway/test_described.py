"""A gateway's container as the engine describes it."""

from pathlib import Path

from deployd.gateway.described import control_of, files_of, is_cut_off, on_host, published, sockets_of
from deployd.gateway.layout import Layout, container_spec


def test_its_directories_are_those_that_it_was_made_with(tmp_path: Path) -> None:
    found = container_spec(Layout("production", "haproxy:lts", tmp_path / "gateway", "sockets-b"))
    assert (files_of(found), sockets_of(found)) == (tmp_path / "gateway", tmp_path / "gateway" / "sockets-b")


def test_it_is_cut_off_once_the_directory_that_it_has_mounted_was_moved_or_deleted(tmp_path: Path) -> None:
    found = container_spec(Layout("production", "haproxy:lts", tmp_path / "gateway", "sockets-a"))
    (tmp_path / "gateway" / "sockets-a").mkdir(parents=True)
    assert not is_cut_off(found)
    (tmp_path / "gateway").rename(tmp_path / "moved")
    assert is_cut_off(found)


def test_a_container_without_mounts_is_not_cut_off() -> None:
    assert not is_cut_off({"HostConfig": {"Binds": None}})


def test_on_a_bridge_it_publishes_its_ports_and_on_the_host_none() -> None:
    ports = ((8000, "0.0.0.0"),)
    bridged = container_spec(Layout("production", "haproxy:lts", Path("/state"), "sockets-a", network="n", ports=ports))
    assert (on_host(bridged), published(bridged)) == (False, {(8000, "0.0.0.0"), (9764, "127.0.0.1")})
    direct = container_spec(Layout("production", "haproxy:lts", Path("/state"), "sockets-a", ports=ports))
    assert (on_host(direct), published(direct)) == (True, set())


def test_its_master_takes_commands_at_a_file_on_the_host_and_at_a_published_port_on_a_bridge() -> None:
    direct = container_spec(Layout("production", "haproxy:lts", Path("/state"), "sockets-b"))
    assert control_of(direct) == Path("/state/sockets-b/master.sock")
    bridged = container_spec(Layout("production", "haproxy:lts", Path("/state"), network="n"))
    ports = {"9764/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
    assert control_of({**bridged, "NetworkSettings": {"Ports": ports}}) == ("127.0.0.1", 32768)
    assert control_of({**bridged, "NetworkSettings": {"Ports": {}}}) is None  # it does not run
