"""The checks behind the faults find what they are there to find."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.survivor import check_taken, check_work

A, B = "a" * 40, "b" * 40


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One delivery, `g`, that asked for iris/1 of commit A."""
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("CREATE TABLE deliveries (guid, deploys)")
        connection.execute("CREATE TABLE deploys (app, number, sha)")
        connection.execute("INSERT INTO deliveries VALUES ('g', ?)", (json.dumps([["iris", 1]]),))
        connection.execute("INSERT INTO deploys VALUES ('iris', 1, ?)", (A,))
    return tmp_path / "db"


def test_an_accepted_delivery_that_is_known_is_fine(database: Path) -> None:
    check_taken(database, {"g": (A, [("iris", 1)])})


@pytest.mark.parametrize(
    "taken",
    [{"h": (A, [("iris", 1)])}, {"g": (A, [("iris", 2)])}, {"g": (B, [("iris", 1)])}, {"g": (A, [])}],
    ids=["is not known", "had another answer", "is of another commit", "asked for nothing"],
)
def test_an_accepted_delivery_that_is_lost_is_found(
    database: Path, taken: dict[str, tuple[str, list[tuple[str, int]]]]
) -> None:
    with pytest.raises(AssertionError):
        check_taken(database, taken)


def _log(*events: str) -> str:
    return "".join(f"witness: {event}\n03:57:38 INFO    something else\n" for event in events)


def test_work_at_one_deploy_after_the_other_is_fine_and_so_is_work_that_a_death_ended() -> None:
    check_work(
        _log("starts", "begins iris/1", "ends iris/1", "begins iris/2", "starts", "begins iris/2", "ends iris/2")
    )


def test_work_at_two_deploys_at_once_is_found() -> None:
    with pytest.raises(AssertionError, match="iris/2 began while"):
        check_work(_log("starts", "begins iris/1", "begins iris/2", "ends iris/1"))


def test_work_at_one_deploy_twice_at_once_is_found() -> None:
    with pytest.raises(AssertionError, match="iris/1 began"):
        check_work(_log("starts", "begins iris/1", "begins iris/1"))
