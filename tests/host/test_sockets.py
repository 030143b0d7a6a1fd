import os
import socket
import subprocess

import pytest

from deployd.host.sockets import listens


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_process_is_known_by_the_ports_on_which_it_listens(family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (
        socket.create_server((address, 0), family=family) as server,
        subprocess.Popen("cat", stdin=subprocess.PIPE) as other,
    ):
        port = server.getsockname()[1]
        assert listens(os.getpid(), port)
        assert listens(other.pid, port) is False
    assert listens(os.getpid(), port) is False


def test_a_process_that_is_gone_listens_on_nothing() -> None:
    assert listens(2**22 + 1, 80) is False
