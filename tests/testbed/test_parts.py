import os
import signal
from pathlib import Path

import pytest

from tests.testbed.cluster import until
from tests.testbed.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Two parts that run until they are ended; the second ignores SIGTERM."""
    parts = Parts(tmp_path)
    deaf = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    parts.remember({"first": ["/bin/sleep", "60"], "second": ["/bin/sh", "-c", deaf]})
    return parts


def test_parts_are_listed_in_order_and_can_be_started_and_stopped(parts: Parts) -> None:
    assert parts.names() == ["first", "second"]
    parts.start("first")
    try:
        assert parts.runs("first")
        assert not parts.runs("second")
    finally:
        parts.stop("first")
    assert not parts.runs("first")
    parts.stop("first")


def test_a_part_can_be_killed(parts: Parts) -> None:
    parts.start("second")
    try:
        until(lambda: parts.log("second").read_text() == "deaf\n", within=20)
    finally:
        parts.stop("second", kill=True)
    assert not parts.runs("second")


def test_a_later_run_knows_the_parts_of_an_earlier_one(parts: Parts) -> None:
    parts.start("first")
    later = Parts(parts.state)
    try:
        assert later.runs("first")
    finally:
        later.stop("first")
    assert not parts.runs("first")


def test_a_process_that_reuses_the_process_id_is_not_ours(parts: Parts) -> None:
    (parts.state / "first.pid").write_text(str(os.getpid()))
    assert not parts.runs("first")
    parts.stop("first")


def test_a_part_that_died_does_not_run(parts: Parts) -> None:
    parts.start("first")
    os.kill(int((parts.state / "first.pid").read_text()), signal.SIGKILL)
    until(lambda: not parts.runs("first"), within=20)


def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    assert parts.names() == []
    assert not parts.runs("first")
