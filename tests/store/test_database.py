import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deployd.errors import ConfigError, Unavailable
from deployd.store.database import Database
from deployd.store.schema import MIGRATIONS


async def _count(database: Database) -> int:
    return await database.read(lambda connection: connection.execute("SELECT count(*) FROM apps").fetchone()[0])


def _insert(name: str):  # type: ignore[no-untyped-def]
    return lambda connection: connection.execute("INSERT INTO apps (name) VALUES (?)", (name,)).rowcount


async def test_a_write_is_read_at_once_and_after_reopening(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        assert await database.write(_insert("iris")) == 1
        assert await _count(database) == 1
    async with Database(tmp_path / "db") as database:
        assert await _count(database) == 1


async def test_a_write_that_raises_undoes_only_its_own_work(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        writes = [database.write(_insert(name)) for name in ("a", "b", "a", "c")]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(result) for result in results] == [int, int, sqlite3.IntegrityError, int]
        assert await _count(database) == 3


async def test_waiting_writes_share_a_commit(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        commits: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(commits.append))
        await asyncio.gather(*(database.write(_insert(f"app{number}")) for number in range(200)))
        assert commits.count("COMMIT") < 100
        assert await _count(database) == 200


async def test_an_immediate_next_write_shares_the_commit_with_waiting_writes(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        commits: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(commits.append))
        begun = asyncio.Event()

        def first(connection: sqlite3.Connection) -> int:
            begun.set()
            return int(_insert("first")(connection))

        async def twice() -> None:
            await database.write(first)
            await asyncio.sleep(0)
            await database.write(_insert("second"))

        coming_back = asyncio.create_task(twice())
        await begun.wait()
        waiting = database.write(_insert("waits"))
        commits.clear()
        await asyncio.gather(coming_back, waiting)
        assert sum(text.startswith("BEGIN") for text in commits) == 1


async def test_a_write_is_answered_after_its_commit_is_on_disk(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:

        def settings(connection: sqlite3.Connection) -> tuple[str, int]:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            return mode, connection.execute("PRAGMA synchronous").fetchone()[0]

        full = 2
        assert await database.write(settings) == ("wal", full)


async def test_a_cancelled_caller_does_not_stop_the_writer(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        task = database.write(_insert("iris"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await database.write(_insert("other"))
        assert await _count(database) == 2


async def test_a_locked_database_is_unavailable_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.store.database._BUSY_SECONDS", 0.05)
    async with Database(tmp_path / "db") as database:
        with sqlite3.connect(tmp_path / "db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked"):
                await database.write(_insert("iris"))
            other.execute("ROLLBACK")
        other.close()
        assert await database.write(_insert("iris")) == 1


async def test_all_writes_that_wait_for_a_locked_database_are_refused_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.store.database._BUSY_SECONDS", 0.05)
    async with Database(tmp_path / "db") as database:
        statements: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(statements.append))
        statements.clear()
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [database.write(_insert(f"app{number}")) for number in range(200)]
            results = await asyncio.gather(*writes, return_exceptions=True)
            other.execute("ROLLBACK")
        assert [type(result) for result in results] == [Unavailable] * 200
        assert statements.count("BEGIN IMMEDIATE") == 2  # without patience, then with it
        assert await database.write(_insert("iris")) == 1


async def test_a_transaction_that_cannot_be_rolled_back_is_answered_and_rolled_back_later(tmp_path: Path) -> None:
    refusals = [sqlite3.SQLITE_DENY]

    def authorize(action: int, operation: str | None, *_: str | None) -> int:
        is_rollback = (action, operation) == (sqlite3.SQLITE_TRANSACTION, "ROLLBACK")
        return refusals.pop() if is_rollback and refusals else sqlite3.SQLITE_OK

    def lost(connection: sqlite3.Connection) -> None:
        _insert("lost")(connection)
        raise sqlite3.OperationalError("disk I/O error")

    async with Database(tmp_path / "db") as database:
        await database.write(lambda connection: connection.set_authorizer(authorize))
        with pytest.raises(Unavailable, match="disk I/O error"):
            await database.write(lost)
        with pytest.raises(Unavailable, match="within a transaction"):
            await database.write(_insert("too early"))
        assert refusals == []
        assert await database.write(_insert("iris")) == 1
        assert await _count(database) == 1


async def test_a_write_to_a_locked_database_does_not_block_the_event_loop(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = database.write(_insert("iris"))
            assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
            assert await _count(database) == 0
            other.execute("ROLLBACK")
        assert await waiting == 1


async def test_a_full_disk_is_unavailable_with_a_hint_and_leaves_the_database_sound(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        await database.write(_insert("small"))
        pages = await database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
        await database.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0])
        with pytest.raises(Unavailable, match="full") as caught:
            await database.write(_insert("x" * 100_000))
        assert "space" in caught.value.hint
        await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone()[0])
        assert await database.write(_insert("next")) == 1
        check = await database.read(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()[0])
        assert check == "ok"


async def test_an_older_database_is_migrated(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as earlier:
        earlier.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        earlier.execute("INSERT INTO steps VALUES ('iris', 1, 1, 'build', 'done', 1.0, 2.0)")
        earlier.commit()
    async with Database(tmp_path / "db") as database:
        steps = await database.read(lambda connection: connection.execute("SELECT * FROM steps").fetchall())
    assert [(step["name"], step["detail"]) for step in steps] == [("build", "")]


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        await database.write(lambda connection: connection.execute("PRAGMA user_version = 99").rowcount)
    with pytest.raises(ConfigError, match="version 99"):
        async with Database(tmp_path / "db"):
            pass


async def test_a_state_directory_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_dir"):
        async with Database(tmp_path / "file" / "db"):
            pass


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_BUSY"])
async def test_a_full_disk_at_the_start_is_not_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refusal = sqlite3.OperationalError("disk I/O error")
    refusal.sqlite_errorname = name

    def refused(database: Database) -> None:
        raise refusal

    monkeypatch.setattr(Database, "_open", refused)
    with pytest.raises(Unavailable, match="cannot be used now") as caught:
        async with Database(tmp_path / "db"):
            pass
    assert caught.value.hint == "free some space in the state directory"


async def test_a_backup_is_a_complete_database(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        await database.write(_insert("iris"))
        await database.backup(tmp_path / "copy")
    async with Database(tmp_path / "copy") as copy:
        assert await _count(copy) == 1
