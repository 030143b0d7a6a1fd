"""The checks of promises.py find the faults that they are made for."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deployd.bringup.api import EngineApi
from deployd.bringup.daemon import DemoDaemon
from deployd.store.schema import migrate
from tests.faults.promises import check_engine, check_records, check_taken, check_work

A, B = "a" * 40, "b" * 40


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Delivery `g` of commit A became iris/1, which was live until iris/2 of commit B; delivery `h` has had no look yet."""
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        migrate(connection)
        _add(connection, 1, A, "retired", live_at=1)
        _add(connection, 2, B, "live", live_at=2)
        for guid in ("g", "h"):
            connection.execute(
                "INSERT INTO deliveries (forge, guid, event, received_at, repository, ref, sha, apps) "
                "VALUES ('github', ?, 'push', 0, '', '', ?, '[\"iris\"]')",
                (guid, A),
            )
        connection.execute("INSERT INTO looks VALUES ('iris', 1, 0, ?, 1, '')", (A,))
        connection.commit()
    return tmp_path / "db"


def _add(connection: sqlite3.Connection, number: int, sha: str, status: str, live_at: float | None) -> None:
    connection.execute(
        "INSERT INTO deploys (app, number, sha, ref, subject, author, trigger_kind, status, created_at, live_at) "
        "VALUES ('iris', ?, ?, 'refs/heads/main', '', '', 'push', ?, 0, ?)",
        (number, sha, status, live_at),
    )


def test_records_of_which_each_commit_went_live_once_are_fine(database: Path) -> None:
    check_records(database)


def test_a_commit_that_was_queued_twice_and_went_live_once_is_fine(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        _add(connection, 3, B, "superseded", live_at=None)
        connection.commit()
    check_records(database)


def test_a_commit_that_went_live_under_two_numbers_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        _add(connection, 3, A, "retired", live_at=3)
        connection.commit()
    with pytest.raises(AssertionError, match="1,3"):
        check_records(database)


def test_a_deploy_that_never_ended_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        _add(connection, 3, "c" * 40, "queued", live_at=None)
        connection.commit()
    with pytest.raises(AssertionError, match="queued"):
        check_records(database)


def test_an_accepted_delivery_that_is_known_is_fine(database: Path) -> None:
    check_taken(database, "iris", {"g": A})


@pytest.mark.parametrize(
    "taken", [{"i": A}, {"g": B}, {"h": A}], ids=["is not known", "named another commit", "still owes a look"]
)
def test_an_accepted_delivery_that_is_lost_is_found(database: Path, taken: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        check_taken(database, "iris", taken)


def test_a_delivery_without_a_deploy_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE looks SET number = NULL")
        connection.commit()
    with pytest.raises(AssertionError, match="nothing"):
        check_taken(database, "iris", {"g": A})


def test_a_look_that_names_an_unknown_deploy_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE looks SET number = 9")
        connection.commit()
    with pytest.raises(AssertionError, match="9"):
        check_records(database)


def _log(*events: str) -> str:
    return "".join(f"witness: {event}\n03:57:38 INFO    something else\n" for event in events)


def test_work_on_one_deploy_after_the_other_is_fine_also_when_a_kill_ended_it() -> None:
    check_work(
        _log("starts", "begins iris/1", "ends iris/1", "begins iris/2", "starts", "begins iris/2", "ends iris/2")
    )


def test_work_on_two_deploys_at_the_same_time_is_found() -> None:
    with pytest.raises(AssertionError, match="iris/2 began while"):
        check_work(_log("starts", "begins iris/1", "begins iris/2", "ends iris/1"))


def test_work_on_one_deploy_twice_at_the_same_time_is_found() -> None:
    with pytest.raises(AssertionError, match="iris/1 began"):
        check_work(_log("starts", "begins iris/1", "begins iris/1"))


class _Engine(EngineApi):
    """Lists what it was made with as ours, with the network and the volumes."""

    def __init__(self, *, containers: list[str], images: list[str], volumes: list[str]) -> None:
        super().__init__("unix:///nowhere")
        self._listed: dict[str, Any] = {
            "containers": [{"Id": name, "Names": [f"/{name}"]} for name in containers],
            "images": [{"Id": name, "RepoTags": [name] if ":" in name else []} for name in images],
            "networks": [{"Id": "1", "Name": "deployd-demo-1"}],
            "volumes": {"Volumes": [{"Name": name} for name in volumes]},
        }

    def get(self, path: str) -> Any:
        return self._listed[path.split("/")[1].partition("?")[0]]


_SERVING = ["deployd-demo-1-iris-2", "deployd-gateway-demo-1"]
_KEPT = [f"deployd/demo-1/iris:{A}-0", f"deployd/demo-1/iris:{B}-1"]


def _check_engine(
    tmp_path: Path, *, containers: list[str] = _SERVING, images: list[str] = _KEPT, volumes: list[str] | None = None
) -> None:
    daemon = DemoDaemon(tmp_path, tmp_path, "demo-1", 1, 2, "secret", "iris")
    api = _Engine(containers=containers, images=images, volumes=volumes or [])
    check_engine(api, daemon, number=2, commit=B)


def test_an_engine_with_what_serves_and_what_is_kept_is_fine(tmp_path: Path) -> None:
    _check_engine(tmp_path)


def test_a_container_that_is_left_over_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="deployd-demo-1-iris-1"):
        _check_engine(tmp_path, containers=[*_SERVING, "deployd-demo-1-iris-1"])


def test_a_missing_release_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="deployd-demo-1-iris-2"):
        _check_engine(tmp_path, containers=_SERVING[1:])


def test_a_volume_that_is_left_over_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="volume data"):
        _check_engine(tmp_path, volumes=["data"])


@pytest.mark.parametrize(
    "images", [_KEPT[:1], [*_KEPT, "1", "2", "3", "4"]], ids=["without that of the release", "more than are kept"]
)
def test_wrong_images_are_found(tmp_path: Path, images: list[str]) -> None:
    with pytest.raises(AssertionError):
        _check_engine(tmp_path, images=images)
