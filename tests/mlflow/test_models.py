"""A real MLflow server: register, move the alias, roll back, server away, version deleted, artifact tampered with."""

import asyncio
import json
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from deployd.bringup.ports import free_port
from deployd.config.models import Model
from deployd.domain import Image
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.goal import Goal, ModelVersion
from deployd.mlflow.api import MlflowApi
from deployd.mlflow.models import MlflowModels
from deployd.ports.builder import BuildRequest
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.status import Status
from tests.adapters import FakeBuilder
from tests.mlflow.receiver import receiver
from tests.mlflow.relay import Relay, relay
from tests.source.repositories import tar_of
from tests.testbed.mlflow_server import MLflow
from tests.works import Works, works

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one MLflow server")]

FILES = {"MLmodel": b"flavors: {}\n", "model.skops": b"one" * 100_000, "code/own.py": b"x = 1\n"}


class Reader(FakeBuilder):
    """Keeps the names and sizes of the files of each context that it builds."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[Mapping[str, tarfile.TarInfo]] = []

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        self.contexts.append(await tar_of(context))
        return await super().build(request, context, log)


class Registry:
    """A registered model of the test's own, and the daemon that takes its champion."""

    def __init__(self, server: MLflow, way: Relay, daemon: Works, builder: Reader, kept: Path) -> None:
        self.server, self.way, self.daemon, self.builder, self.kept = server, way, daemon, builder, kept
        model = daemon.config.app[0].model
        assert model is not None
        self.name = model.name

    def champion(self, version: str) -> None:
        self.server.point(self.name, "champion", version)

    async def lives(self, commit: str, version: str) -> ModelVersion:
        """Until that commit serves with that version."""
        api = MlflowApi()
        try:
            found = await api.version("iris", self.model(), version)
        finally:
            await api.close()
        await self.daemon.serves(commit, model=found)
        return found

    def model(self, **changes: Any) -> Model:
        return Model.model_validate({"registry": self.server.url, "name": self.name, "alias": "champion", **changes})

    async def failure(self, version: str) -> BuildFailed:
        """Why the files of a version cannot be had."""
        models, app = MlflowModels(self.daemon.running, self.daemon.store, self.kept), self.daemon.config.app[0]
        try:
            found = await models._api.version(app.name, self.model(), version)
            with pytest.raises(BuildFailed) as failed:
                await models.fetch(app, found, _Silent())
            return failed.value
        finally:
            await models.close()


class _Silent:
    """A log that keeps nothing."""

    def write(self, text: str) -> None:
        return

    def hide(self, secret: str) -> None:
        return

    def redact(self, text: str) -> str:
        return text

    def tail(self, lines: int = 10) -> str:
        return ""


@pytest.fixture
async def registry(mlflow: MLflow, tmp_path: Path) -> AsyncIterator[Registry]:
    """Version 1 is the champion."""
    name, builder, kept = f"iris-{uuid.uuid4().hex[:12]}", Reader(), tmp_path / "models"
    mlflow.point(name, "champion", mlflow.register(name, FILES))
    port = free_port()
    app = {"model": {"registry": f"http://127.0.0.1:{port}", "name": name, "alias": "champion", "into": "registered"}}
    made: list[MlflowModels] = []

    def models(running: Any, store: Any) -> MlflowModels:
        made.append(MlflowModels(running, store, kept))
        return made[0]

    async with relay(port, mlflow.url) as way:
        async with works(tmp_path, app, builder=builder, models=models) as daemon:
            yield Registry(mlflow, way, daemon, builder, kept)
        await made[0].close()


async def test_a_model_goes_from_the_registry_to_live_and_back(registry: Registry) -> None:
    daemon, server = registry.daemon, registry.server
    commit = daemon.commit()
    await daemon.told(commit)
    first = await registry.lives(commit, "1")
    assert first.source.startswith("models:/m-")
    context = registry.builder.contexts[0]
    assert {name for name, file in context.items() if file.isreg() and name.startswith("registered/")} == {
        *(f"registered/{path}" for path in FILES),
        "registered/deployd-model.json",
    }
    assert context["registered/model.skops"].size == 300_000
    registry.champion(server.register(registry.name, FILES | {"model.skops": b"two"}))
    guid = await daemon.moved()
    assert (await daemon.answered(guid)).number == 2
    second = await registry.lives(commit, "2")
    assert registry.builder.contexts[1]["registered/model.skops"].size == 3
    # Rolled back: to the image that was kept, and no look undoes it.
    back = await daemon.scheduler.rollback("iris", None, "ada")
    assert back.goal == Goal(commit, first)
    assert await registry.lives(commit, "1") == first
    assert not await daemon.polled()
    assert (await daemon.store.state("iris")).held == Goal(commit, second)
    assert len(registry.builder.contexts) == 2


async def test_a_version_that_was_deleted_serves_on_and_is_told(registry: Registry) -> None:
    daemon, server = registry.daemon, registry.server
    commit = daemon.commit()
    await daemon.told(commit)
    first = await registry.lives(commit, "1")
    server.ask("DELETE", "model-versions/delete", {"name": registry.name, "version": "1"})
    with pytest.raises(DeploydError, match="does not have the alias champion") as refused:
        await daemon.polled()
    assert "set_registered_model_alias" in refused.value.hint
    # A push is deployed with the version that was seen last: its files are kept here.
    newer = daemon.commit()
    await daemon.told(newer)
    await daemon.serves(newer, model=first)
    # Without them it cannot be.
    for path in registry.kept.iterdir():
        path.rename(path.with_name("gone"))
    last = daemon.commit()
    failed = await daemon.becomes(await daemon.deployed(last), Status.FAILED)
    assert "does not have version 1" in failed.reason
    assert await daemon.live() == newer


async def test_files_that_were_overwritten_are_refused(registry: Registry) -> None:
    daemon, server = registry.daemon, registry.server
    commit = daemon.commit()
    await daemon.told(commit)
    first = await registry.lives(commit, "1")
    logged = first.source.removeprefix("models:/")
    server.overwrite(f"0/models/{logged}/artifacts/model.skops", b"evil")
    # What is kept here is what was fetched first, whatever the registry has by now.
    kept = next(registry.kept.iterdir())
    assert (kept / "model.skops").read_bytes() == FILES["model.skops"]
    (kept / "model.skops").write_bytes(b"changed here")
    failed = await registry.failure("1")
    assert failed.message == f"the files of {first} are not those that were fetched first: model.skops"
    assert "new version" in failed.hint
    server.overwrite(f"0/models/{logged}/artifacts/model.skops", FILES["model.skops"])
    newer = daemon.commit()
    await daemon.told(newer)
    await daemon.serves(newer, model=first)


async def test_the_registry_may_be_away(registry: Registry) -> None:
    daemon, server = registry.daemon, registry.server
    commit = daemon.commit()
    await daemon.told(commit)
    first = await registry.lives(commit, "1")
    await registry.way.close()
    guid = await daemon.moved()
    newer = daemon.commit()
    with pytest.raises(Unavailable, match="does not answer"):
        await daemon.polled()
    await daemon.serves(newer, model=first)
    assert (await daemon.store.state("iris")).owed_since is not None
    await registry.way.open()
    registry.champion(server.register(registry.name, FILES))
    await daemon.polled()
    assert (await daemon.answered(guid)).number == 3
    await registry.lives(newer, "2")


async def test_mlflow_signs_its_webhooks_as_the_door_verifies_them(registry: Registry) -> None:
    """MLflow itself sends one: its test of a webhook answers with what the receiver said."""
    with receiver("a secret") as (url, verified):
        events = [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
        body = {"name": registry.name, "url": url, "events": events, "secret": "a secret"}
        made = registry.server.ask("POST", "webhooks", body)["webhook"]["webhook_id"]
        try:
            found = None
            while (
                found is None
            ):  # MLflow keeps its list of webhooks for a second, and tells a new one of nothing until then
                await asyncio.to_thread(registry.champion, "1")
                with suppress(Empty):
                    found = await asyncio.to_thread(verified.get, timeout=2)
        finally:
            registry.server.ask("DELETE", f"webhooks/{made}", {})
    assert found == (True, registry.name, "champion")


async def test_limits_hold_and_large_models_are_refused(registry: Registry) -> None:
    version = registry.server.register(registry.name, {"MLmodel": b"x", **{f"f/{n}": b"" for n in range(3)}})
    models, app = (
        MlflowModels(registry.daemon.running, registry.daemon.store, registry.kept),
        registry.daemon.config.app[0],
    )
    assert app.model is not None
    small = app.model_copy(update={"model": app.model.model_copy(update={"max_size": 1000})})
    try:
        first = await models.present(small)
        with pytest.raises(BuildFailed, match="larger than"):
            await models.fetch(small, first, _Silent())
        found = await models.fetch(app, await models._api.version("iris", registry.model(), version), _Silent())
        assert set(found.files) == {"MLmodel", "f/0", "f/1", "f/2"}
        described = json.loads(found.made["deployd-model.json"])
        assert (described["name"], described["version"]) == (registry.name, version)
        assert described["model_id"].startswith("m-")
        assert set(described["files"]) == set(found.files)
    finally:
        await models.close()


async def test_a_source_elsewhere_is_not_followed(registry: Registry) -> None:
    """A version may name any address as its source: only the registry itself is asked."""
    failed = await registry.failure(registry.server.version_at(registry.name, "s3://bucket/model"))
    assert "s3://bucket/model" in failed.message
    assert "--serve-artifacts" in failed.hint
