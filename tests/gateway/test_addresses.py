import socket

import pytest

from deployd.config.daemon import GatewaySection
from deployd.errors import RolloutFailed
from deployd.gateway.addresses import addresses, require_free
from deployd.gateway.text import Listeners


def test_a_port_in_use_is_refused_and_the_hint_names_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RolloutFailed, match=f"port {port} is in use by another program") as refused:
            require_free({("127.0.0.1", port): "gateway.http_port"}, ())
        assert refused.value.hint == "stop it, or set another gateway.http_port"


def test_a_port_that_haproxy_has_bound_itself_is_not_checked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        require_free({("0.0.0.0", port): "gateway.http_port"}, [port])


def test_an_address_that_deployd_cannot_bind_is_not_refused() -> None:
    require_free({("192.0.2.1", 80): "gateway.http_port"}, ())


def test_the_statistics_listen_on_loopback_and_the_shared_port_on_the_configured_address() -> None:
    section = GatewaySection(bind="192.0.2.1", http_port=80, stats_port=8404)
    assert addresses(Listeners.of(section, bridge=False)) == {
        ("192.0.2.1", 80): "gateway.http_port",
        ("127.0.0.1", 8404): "gateway.stats_port",
    }
