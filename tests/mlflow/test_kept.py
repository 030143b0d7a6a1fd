"""The files of versions that are kept on this host. The registry is a transport that answers as MLflow does."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import deployd.mlflow.models
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.errors import BuildFailed, Unavailable
from deployd.events import Events
from deployd.goal import ModelVersion
from deployd.mlflow.models import MlflowModels
from deployd.store.database import Database
from deployd.store.store import Store
from tests.source.repositories import Lines

MODEL = {"registry": "http://mlflow", "name": "iris", "alias": "champion"}
APP = {"name": "iris", "repo": "https://github.com/a/b", "branch": "main", "gateway": {"listen": 8000}, "model": MODEL}
ONE = ModelVersion("iris", "1", "models:/m-1", 1)
RUNNING = Running(parse({"app": [APP]}))


def _answer(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/api/2.0/mlflow/model-versions/get":
            version = {"name": "iris", "version": "1", "source": "models:/m-1", "creation_timestamp": 1}
            return httpx.Response(200, json={"model_version": version})
        case "/api/2.0/mlflow/logged-models/m-1/artifacts/directories":
            return httpx.Response(200, json={"files": [{"path": "MLmodel"}]})
        case "/model-versions/get-artifact":
            # MLflow fetches the whole file from its own store before it sends the first byte.
            assert request.extensions["timeout"]["read"] >= 600
            return httpx.Response(200, content=b"flavors: {}\n")
        case path:
            raise AssertionError(path)


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[MlflowModels]:
    async with Database(tmp_path / "deployd.db") as database:
        made = MlflowModels(RUNNING, Store(database, Events()), tmp_path / "models")
        made._api._clients[False] = httpx.AsyncClient(transport=httpx.MockTransport(_answer))
        yield made
        await made.close()


async def test_a_version_is_fetched_once_and_leaves_nothing_but_its_files(models: MlflowModels, tmp_path: Path) -> None:
    (app,) = RUNNING.apps
    first = await models.fetch(app, ONE, Lines())
    again = Lines()
    assert (await models.fetch(app, ONE, again)).files == first.files
    assert "1 file, kept here" in again.text
    assert [path.name for path in (tmp_path / "models").iterdir()] == [first.files["MLmodel"].parent.name]
    assert not models._locks


async def test_directories_without_end_are_refused(models: MlflowModels) -> None:
    asked: list[str] = []

    def more(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/directories"):
            return _answer(request)
        asked.append(below := request.url.params.get("artifact_directory_path", ""))
        inside = [{"path": f"{below}/{name}".lstrip("/"), "is_dir": True} for name in "abc"]
        return httpx.Response(200, json={"files": inside if below.count("/") < 6 else []})

    models._api._clients[False] = httpx.AsyncClient(transport=httpx.MockTransport(more))
    (app,) = RUNNING.apps
    with pytest.raises(BuildFailed, match="more than 1000 files and directories"):
        await models.fetch(app, ONE, Lines())
    assert len(asked) < 1000


async def test_a_full_disk_is_told_and_leaves_nothing(
    models: MlflowModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(path: Path, pieces: AsyncIterator[bytes], most: int) -> tuple[str, int]:
        await asyncio.to_thread(path.write_bytes, await anext(pieces))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deployd.mlflow.models, "_written", full)
    (app,) = RUNNING.apps
    with pytest.raises(Unavailable, match="cannot be kept: No space left on device"):
        await models.fetch(app, ONE, Lines())
    assert list((tmp_path / "models").iterdir()) == []
    monkeypatch.undo()
    assert set((await models.fetch(app, ONE, Lines())).files) == {"MLmodel"}


async def test_half_fetched_files_of_a_killed_daemon_are_removed(tmp_path: Path) -> None:
    kept = tmp_path / "models" / "0123"
    for directory in (kept, tmp_path / "models" / "new-4567"):
        directory.mkdir(parents=True)
        (directory / "MLmodel").write_bytes(b"x")
    async with Database(tmp_path / "deployd.db") as database:
        MlflowModels(RUNNING, Store(database, Events()), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == [kept]


async def test_a_directory_that_another_fetch_moves_away_does_not_end_a_fetch(
    models: MlflowModels, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "listed").symlink_to(tmp_path / "gone")  # it is in the directory, and cannot be asked
    (app,) = RUNNING.apps
    assert set((await models.fetch(app, ONE, Lines())).files) == {"MLmodel"}
