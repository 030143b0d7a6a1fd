"""Whether a port can be used."""

import errno
import socket

import pytest

from deployd.check.ports import usable


def test_a_port_below_1024_is_free_for_haproxy_but_not_for_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: socket.socket, address: tuple[str, int]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    assert usable("app port", "0.0.0.0", 80, ours=False, by_haproxy=True).verdict == "ok"
    own = usable("api port", "0.0.0.0", 80, ours=False)
    assert (own.verdict, own.hint) == ("wrong", "use a port above 1023, or systemd's socket")


def test_an_address_of_another_machine_is_a_fault() -> None:
    found = usable("app port", "192.0.2.1", 8000, ours=False, by_haproxy=True)
    assert (found.verdict, found.hint) == ("wrong", "use an address of this machine")
