"""A gateway that another daemon with the same instance runs is told from our own."""

import os
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


def test_our_own_gateway_is_ours_also_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "state")
    with only_one(tmp_path / "state"):
        require_ours(gateway(tmp_path / "state"), tmp_path / "state" / "gateway", "production")
        require_ours(gateway(tmp_path / "link"), tmp_path / "state" / "gateway", "production")


def test_the_gateway_of_another_daemon_is_not_ours_whether_it_runs_or_not(tmp_path: Path) -> None:
    other, ours = tmp_path / "other", tmp_path / "ours" / "gateway"
    with only_one(other), pytest.raises(Unavailable, match="another deployd") as failed:
        require_ours(gateway(other), ours, "production")
    assert failed.value.message == (
        f"another deployd (pid {os.getpid()}, state directory {other}) uses this engine as instance production"
    )
    assert "give each daemon a [server] instance of its own" in failed.value.hint
    with pytest.raises(Unavailable, match="not running, state directory"):
        require_ours(gateway(other), ours, "production")


def test_the_gateway_of_a_state_directory_that_was_moved_is_taken_over(tmp_path: Path) -> None:
    require_ours(gateway(tmp_path / "gone"), tmp_path / "ours" / "gateway", "production")
