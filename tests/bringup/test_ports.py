import socket
from pathlib import Path

import pytest

from deployd.bringup import ports
from deployd.errors import Unavailable


def test_a_port_is_free_and_returned_only_once() -> None:
    found = {ports.free_port() for _ in range(50)}
    assert len(found) == 50
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_in_use_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(port, port + 1))
        with pytest.raises(Unavailable, match="no free port"):
            ports.free_port()


def test_a_port_is_below_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest < 30_000:
        pytest.skip(f"on this host, outgoing connections use the ports from {lowest} on")
    assert ports.free_port() < lowest
