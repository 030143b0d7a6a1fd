import socket
from pathlib import Path

import pytest

from deployd.bringup import ports
from deployd.errors import Unavailable


def test_a_port_can_be_listened_on_and_is_given_once() -> None:
    found = {ports.free_port() for _ in range(50)}
    assert len(found) == 50
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(port, port + 1))
        with pytest.raises(Unavailable, match="no free port"):
            ports.free_port()


def test_no_port_is_one_that_an_outgoing_connection_may_have() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest < 30_000:
        pytest.skip(f"this host gives outgoing connections ports from {lowest} on")
    assert ports.free_port() < lowest
