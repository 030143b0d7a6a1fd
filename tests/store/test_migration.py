"""The migration of a database of the former release keeps all its data, and the next look deploys no head twice."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployd.config.file import parse
from deployd.config.running import Running
from deployd.domain import Deploy, Image
from deployd.errors import ConfigError
from deployd.events import Events
from deployd.goal import Goal, Known, Trigger
from deployd.order.look import Looks
from deployd.status import Status
from deployd.store import schema
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import REPO
from tests.fakes import FakeSource
from tests.store.given import A, B, C, accepted

FORMER = Path(__file__).with_name("version_4.sql")
D = "d" * 40
BORN = 1_700_000_000.0
PUSHED = {"name": "registry.example.com/palm", "tag": A, "id": "sha256:1", "digest": "sha256:2"}
BUILT = {"name": "deployd/iris", "tag": B, "id": "sha256:3", "digest": None}

# Each app: the head that it had taken up last, the one that it had declined last, and the wanted commit below that.
APPS: dict[str, tuple[str | None, str | None, str | None]] = {
    "iris": (B, None, None),
    "rose": (B, D, B),
    "fern": (B, None, None),
    "oak": (B, None, None),
    "moss": (None, None, None),
    "lily": (None, None, None),
    "palm": (None, None, None),
    "reed": (None, D, None),
    "sage": (A, None, None),
    "yew": (C, None, None),
}
DEPLOYS: list[tuple[str, int, str, str, str]] = [  # app, number, commit, status, who asked
    ("iris", 1, A, "retired", "push"),
    ("iris", 2, B, "live", "push"),
    ("rose", 1, B, "live", "poll"),
    ("fern", 1, A, "live", "push"),
    ("fern", 2, B, "failed", "push"),
    ("oak", 1, B, "retired", "push"),
    ("oak", 2, A, "live", "manual"),
    ("moss", 1, A, "queued", "push"),
    ("palm", 1, A, "live", "manual"),
    ("palm", 2, B, "failed", "manual"),
    ("sage", 1, A, "live", "push"),
    ("yew", 1, A, "live", "manual"),
]
HEADS = {
    "iris": B,
    "rose": D,
    "fern": B,
    "oak": B,
    "moss": A,
    "lily": A,
    "palm": A,
    "reed": D,
    "sage": C,
    "yew": C,
}


def _former(path: Path) -> None:
    """Write the database as the former release left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMER.read_text())
        connection.executemany(
            "INSERT INTO apps (name, seen_commit, declined, stands_on) VALUES (?, ?, ?, ?)",
            [(name, *known) for name, known in APPS.items()],
        )
        connection.execute("UPDATE apps SET paused = 1, last_number = 7 WHERE name = 'lily'")
        for app, number, commit, status, kind in DEPLOYS:
            begun = BORN + number if status != "queued" else None
            live_at = begun if status in {"live", "retired"} else None
            row = {
                "app": app,
                "number": number,
                "sha": commit,
                "ref": f"refs/heads/{app}",
                "subject": f"Change {number}",
                "author": "Ada",
                "trigger_kind": kind,
                "status": status,
                "trigger_delivery": "g" if kind == "push" else None,
                "trigger_by": "ada" if kind == "manual" else None,
                "reason": "exit code 1" if status == "failed" else "",
                "created_at": BORN + number,
                "started_at": begun,
                "live_at": live_at,
                "image": json.dumps(PUSHED if app == "palm" else BUILT) if live_at else None,
            }
            columns, values = ", ".join(row), ", ".join(f":{column}" for column in row)
            connection.execute(f"INSERT INTO deploys ({columns}) VALUES ({values})", row)  # noqa: S608 - our own names
        connection.execute("INSERT INTO steps VALUES ('iris', 2, 1, 'build', 'done', 1.0, 2.0, '3 of 4')")
        told = [("1", [["iris", 1]]), ("2", [["iris", 2], ["rose", 1]]), ("3", []), ("4", [["fern", 2]])]
        for at, (guid, deploys) in enumerate(told):
            connection.execute(
                "INSERT INTO deliveries VALUES ('github', ?, 'push', ?, ?)", (guid, BORN + at, json.dumps(deploys))
            )
        connection.commit()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    _former(tmp_path / "db")
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


async def _deploys(store: Store, app: str) -> list[tuple[int, str, str]]:
    return [(one.number, one.commit, one.status.value) for one in reversed(await store.deploys(app))]


async def test_the_migration_keeps_the_history(store: Store) -> None:
    for app in APPS:
        before = [(number, commit, status) for name, number, commit, status, _ in DEPLOYS if name == app]
        assert await _deploys(store, app) == before
    iris, oak = await store.deploy("iris", 2), await store.deploy("oak", 2)
    assert iris is not None
    assert oak is not None
    assert (iris.ref, iris.subject, iris.author, iris.trigger) == (
        *("refs/heads/iris", "Change 2", "Ada"),
        Trigger("push", delivery="g"),
    )
    assert (iris.created_at, iris.image) == (datetime.fromtimestamp(BORN + 2, UTC), Image(**BUILT))  # type: ignore[arg-type]
    assert [(step.name, step.status, step.detail) for step in iris.steps] == [("build", "done", "3 of 4")]
    assert oak.trigger == Trigger("manual", by="ada")


async def test_the_migration_keeps_all_apps_and_their_numbers(store: Store) -> None:
    assert await store.known_apps() == sorted(APPS)
    assert (await store.state("lily")).paused
    assert not (await store.state("iris")).paused
    assert await store.newest_queued("moss") == 1


@pytest.mark.parametrize(
    ("app", "decided", "wanted"),
    [
        ("iris", B, B),
        ("rose", D, B),
        ("fern", B, B),
        ("oak", B, B),
        ("moss", None, None),
        ("lily", None, None),
        ("palm", None, None),
        ("reed", D, None),
        ("yew", C, None),
    ],
)
async def test_the_migration_keeps_the_decided_and_the_wanted_head(
    store: Store, app: str, decided: str | None, wanted: str | None
) -> None:
    known = (await store.known([app]))[app]
    was, stood = (Goal(commit) if commit is not None else None for commit in (decided, wanted))
    assert known == Known(was, stood, f"refs/heads/{app}" if wanted else None)


async def test_the_migration_keeps_held_apps_held(store: Store) -> None:
    held = {state.app: state.held_reason for state in await store.states(APPS) if state.held_reason}
    assert held == {
        "fern": "fern/2 failed: exit code 1",
        "oak": "deployed by hand by ada",
    }
    state = await store.state("fern")
    assert (state.held_commit, state.wanted_at) == (B, datetime.fromtimestamp(BORN + 2, UTC))
    assert [state.owed_since for state in await store.states(APPS)] == [None] * len(APPS)


async def test_the_migration_derives_the_target_from_the_image(store: Store) -> None:
    targets = {one.target for app in APPS if app != "palm" for one in await store.deploys(app)}
    assert targets == {"docker"}
    assert {one.number: one.target for one in await store.deploys("palm")} == {1: "kubernetes", 2: "docker"}


async def test_the_migration_keeps_the_outcomes_of_deliveries(store: Store) -> None:
    assert [one.delivery.guid for one in await store.deliveries()] == ["4", "3", "2", "1"]
    found = {
        one.delivery.guid: [(outcome.app, outcome.number) for outcome in one.outcomes]
        for one in await store.deliveries()
    }
    assert found == {"1": [("iris", 1)], "2": [("iris", 2), ("rose", 1)], "3": [], "4": [("fern", 2)]}
    two = await store.delivery("2")
    assert two is not None
    assert two.received_at == datetime.fromtimestamp(BORN + 1, UTC)
    assert {outcome.looked_at for outcome in two.outcomes} == {two.received_at}


async def test_a_guid_from_before_the_migration_is_answered_as_the_first_time_and_owes_no_look(store: Store) -> None:
    assert await accepted(store, "2", B, "lily") == ["iris", "rose"]
    assert (await store.state("iris")).owed_since is None
    assert await accepted(store, "4", B) == ["fern"]
    assert (await store.known(["fern"]))["fern"].decided is None  # its deploy had failed


async def test_a_new_delivery_after_the_migration_owes_a_look(store: Store) -> None:
    await accepted(store, "5", C)
    assert [one.guid for one in (await store.known(["iris"]))["iris"].owed] == ["5"]


async def _looked(store: Store, heads: dict[str, str]) -> list[Deploy]:
    """What is queued by a look at the remote with those heads, each app's branch named like the app."""
    apps = [
        {"name": name, "repo": REPO, "branch": name, "gateway": {"listen": 8000 + at}} for at, name in enumerate(heads)
    ]
    source = FakeSource({REPO: {f"refs/heads/{name}": commit for name, commit in heads.items()}})
    queued: list[Deploy] = []
    looks = Looks(Running(parse({"app": apps, "git": {"poll_every": "0s"}})), store, source, queued.append)
    serving = asyncio.create_task(looks.serve())
    await source.asked.get()
    (repository,) = looks._repositories.values()
    serving.cancel()
    await asyncio.wait({serving})
    await repository.look(final=True)
    return queued


async def test_a_look_after_the_migration_deploys_only_new_heads(store: Store) -> None:
    queued = {deploy.app: (deploy.number, deploy.commit) for deploy in await _looked(store, HEADS)}
    assert queued == {"lily": (8, A), "sage": (2, C)}
    assert await _looked(store, HEADS) == []
    assert await _deploys(store, "moss") == [(1, A, "queued")]
    assert (await store.state("moss")).wanted == Goal(A)


async def test_a_deploy_queued_before_the_migration_is_taken(store: Store) -> None:
    deploy = await store.take_newest("moss")
    assert deploy is not None
    assert (deploy.name, deploy.target) == ("moss/1", "docker")
    assert (await store.advance(deploy, Status.BUILDING)).status is Status.BUILDING


async def test_a_migrated_database_opens_again(tmp_path: Path) -> None:
    _former(tmp_path / "db")
    for _ in range(2):
        async with Database(tmp_path / "db") as database:
            assert await Store(database, Events()).known_apps() == sorted(APPS)
            check = await database.read(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()[0])
            assert check == "ok"


async def test_a_failed_migration_leaves_the_old_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _former(tmp_path / "db")
    broken = (*schema.MIGRATIONS[:4], schema.MIGRATIONS[4] + "DROP TABLE nowhere;")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(ConfigError):
            async with Database(tmp_path / "db"):
                pass
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (4,)
    async with Database(tmp_path / "db") as database:
        assert await Store(database, Events()).known_apps() == sorted(APPS)


async def test_the_migration_records_each_image_that_deploys_have_made(tmp_path: Path) -> None:
    """By its recorded id: the same name was given to the images of a commit again and again."""
    _former(tmp_path / "db")
    older = json.dumps({**BUILT, "id": "sha256:older"})
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.execute("UPDATE deploys SET image = ?, sha = ? WHERE app = 'iris' AND number = 1", (older, B))
        connection.commit()
    async with Database(tmp_path / "db") as database:
        store = Store(database, Events())
        builds = [(build.number, build.name, build.image and build.image.id) for build in await store.builds("iris")]
        assert sorted(builds) == [(1, f"deployd/iris:{B}", "sha256:older"), (2, f"deployd/iris:{B}", "sha256:3")]
        assert await store.built("iris", B, "") != []
        (pushed,) = await store.builds("palm")
        assert pushed.image is not None
        assert pushed.image.digest == "sha256:2"
