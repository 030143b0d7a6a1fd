import socket

import pytest

from deployd.config.daemon import GatewaySection
from deployd.errors import RolloutFailed
from deployd.gateway.claim import claims, must_be_free
from deployd.gateway.text import Doors


def test_a_port_of_another_program_is_refused_by_the_key_that_asks_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RolloutFailed, match=f"port {port} is in use by another program") as refused:
            must_be_free({("127.0.0.1", port): "gateway.http_port"}, ())
        assert refused.value.hint == "stop it, or set another gateway.http_port"


def test_what_haproxy_holds_itself_is_not_looked_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        must_be_free({("0.0.0.0", port): "gateway.http_port"}, [port])


def test_an_address_that_only_haproxy_may_or_cannot_bind_is_left_to_it() -> None:
    must_be_free({("192.0.2.1", 80): "gateway.http_port"}, ())


def test_the_statistics_are_claimed_on_loopback_and_the_doors_where_they_are_bound() -> None:
    section = GatewaySection(bind="192.0.2.1", http_port=80, stats_port=8404)
    assert claims(Doors.of(section, bridge=False)) == {
        ("192.0.2.1", 80): "gateway.http_port",
        ("127.0.0.1", 8404): "gateway.stats_port",
    }
