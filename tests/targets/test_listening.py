"""Why nothing answers at an app's port."""

import pytest

from deployd.targets.listening import Listener, parse, silence

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000 100 0 0 10 0
   1: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000 100 0 0 10 0
   3: 0B00007F:A0B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000 100 0 0 10 0
   2: 020012AC:1388 010012AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0000 20 0 0 10 -1
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_listeners_are_read_from_the_kernel_s_tables() -> None:
    assert set(parse(TABLE)) == {
        Listener(8080, "127.0.0.1"),
        Listener(5000, None),
        Listener(8081, None),
        Listener(8082, "::1"),
        Listener(8083, "127.0.0.1"),
    }


@pytest.mark.parametrize(
    ("listeners", "exposed", "reason", "hint"),
    [
        (
            [Listener(8000, None)],
            [8000],
            "listens on 8000, [app.docker] port is 5000; its image EXPOSEs 8000",
            "port = 8000",
        ),
        ([Listener(8000, None)], [], "the app listens on 8000, [app.docker] port is 5000", "set port = 8000"),
        (
            [Listener(5000, "127.0.0.1")],
            [5000],
            "listens on 127.0.0.1:5000, which only its own container",
            "0.0.0.0:5000",
        ),
        ([Listener(8000, "::1")], [], "the app listens on [::1]:8000, [app.docker] port is 5000", "0.0.0.0:5000"),
        ([], [], "the app listens on no port", ""),
        (None, [8000], "[app.docker] port is 5000; its image EXPOSEs 8000", "perhaps 8000"),
    ],
)
def test_the_reason_names_the_port_that_listens_and_the_one_that_is_asked(
    listeners: list[Listener] | None, exposed: list[int], reason: str, hint: str
) -> None:
    found = silence(5000, listeners, exposed, "app.docker")
    assert found is not None
    assert reason in found.reason
    assert hint in found.hint


@pytest.mark.parametrize(("listeners", "exposed"), [([Listener(5000, None)], [8000]), (None, [5000]), (None, [])])
def test_a_port_that_can_be_reached_or_of_which_nothing_is_known_is_no_reason(
    listeners: list[Listener] | None, exposed: list[int]
) -> None:
    assert silence(5000, listeners, exposed, "app.docker") is None
