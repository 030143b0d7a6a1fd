"""A gateway that another daemon with the same instance runs is told from our own."""

from pathlib import Path
from typing import Any

import pytest

from deployd.errors import Unavailable
from deployd.gateway.layout import Layout, container_spec
from deployd.gateway.neighbour import require_ours
from deployd.host.process import only_one


def gateway(state: Path) -> dict[str, Any]:
    """The container that the daemon with that state directory made."""
    return container_spec(Layout("production", "haproxy:lts", state / "gateway", "sockets-a"))


def test_our_own_gateway_is_ours(tmp_path: Path) -> None:
    with only_one(tmp_path):
        require_ours(gateway(tmp_path), tmp_path / "gateway", "production")


def test_the_gateway_of_another_daemon_that_runs_is_not_ours(tmp_path: Path) -> None:
    with only_one(tmp_path / "other"), pytest.raises(Unavailable, match="another deployd") as failed:
        require_ours(gateway(tmp_path / "other"), tmp_path / "ours" / "gateway", "production")
    assert f"state directory {tmp_path / 'other'}) uses this engine as instance production" in failed.value.message
    assert failed.value.hint == "give each daemon a [server] instance of its own"


def test_the_gateway_of_a_state_directory_that_was_moved_is_taken_over(tmp_path: Path) -> None:
    require_ours(gateway(tmp_path / "gone"), tmp_path / "ours" / "gateway", "production")
    with only_one(tmp_path / "other"):
        pass
    require_ours(gateway(tmp_path / "other"), tmp_path / "ours" / "gateway", "production")
