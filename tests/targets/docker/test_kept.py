"""Whatever somebody does by hand to what serves: the keeper notices it, says it, and the release serves again."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.config.app import App
from deployd.domain import Health, Image
from deployd.events import Events
from deployd.gates.ready import ReadyGate
from deployd.goal import Trigger, Wanted
from deployd.keeper import Keeper
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.targets.docker.traffic import answer, answered
from tests.targets.docker.world import NAME, an_app, build, commit

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def until(true: Callable[[], bool]) -> None:
    """Until the condition holds; a test's time limit is the deadline."""
    while True:
        if true():
            return
        await asyncio.sleep(0.02)


@dataclass
class Kept:
    """Release 1 of an app, which a keeper keeps serving."""

    target: DockerTarget
    store: Store
    keeper: Keeper
    app: App
    port: int
    api: Any
    instance: str

    @property
    def container(self) -> dict[str, Any]:
        """The container of the release; the newest where one was removed."""
        labels = [f"io.deployd.instance={self.instance}", "io.deployd.deploy=1"]
        listed = self.api.get(f"/containers/json?all=1&filters={quote(json.dumps({'label': labels}))}")
        (found,) = listed
        described: dict[str, Any] = self.api.get(f"/containers/{found['Id']}/json")
        return described

    @property
    def network(self) -> str:
        return f"deployd-{self.instance}"

    async def well(self) -> None:
        """Until the keeper has seen that it serves as it should."""
        await until(lambda: self.keeper.health(1) == Health())
        assert (await answer(self.port)).text == commit(1)

    # What a person may do.

    def remove(self) -> None:
        self.api.delete(f"/containers/{self.container['Id']}?force=1")

    def stop(self) -> None:
        self.api.post(f"/containers/{self.container['Id']}/stop?t=1")

    def kill(self) -> None:
        self.api.post(f"/containers/{self.container['Id']}/kill")

    def pause(self) -> None:
        self.api.post(f"/containers/{self.container['Id']}/pause")

    def disconnect(self) -> None:
        body = {"Container": self.container["Id"], "Force": True}
        self.api.post(f"/networks/{self.network}/disconnect", body)

    def disconnect_from_backend(self) -> None:
        body = {"Container": self.container["Id"], "Force": True}
        self.api.post(f"/networks/backend-{self.instance}/disconnect", body)

    def remove_network(self) -> None:
        self.disconnect()
        self.api.delete(f"/networks/{self.network}")

    def stop_and_remove_network(self) -> None:
        """The container then stays in a network that is no more."""
        self.stop()
        self.api.delete(f"/networks/{self.network}")

    def stop_and_remake_backend(self) -> None:
        """Another network has the name by now."""
        self.stop()
        self.api.delete(f"/networks/backend-{self.instance}")
        labels = {"io.deployd.instance": self.instance}
        self.api.post("/networks/create", {"Name": f"backend-{self.instance}", "Labels": labels})

    def remove_gateway(self) -> None:
        self.api.delete(f"/containers/deployd-gateway-{self.instance}?force=1")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much harm in a row is no fight with another controller."""
    monkeypatch.setattr("deployd.keeper._IN_A_ROW", (0.0,))


@pytest.fixture
async def kept(
    target: DockerTarget, web: Image, docker_engine: Engine, instance: str, tmp_path: Path
) -> AsyncIterator[Kept]:
    api, port, events = docker_engine.api(), free_port(), Events()
    api.post("/networks/create", {"Name": f"backend-{instance}", "Labels": {"io.deployd.instance": instance}})
    app = an_app(1, listen=port, network=f"backend-{instance}", restart="no")
    async with Database(tmp_path / "db") as database:
        store = Store(database, events)
        deploy = await store.queue(Wanted(NAME, commit(1), "refs/heads/main", Trigger("push")))
        await target.roll_out(app, deploy, web, FakeProgress(ReadyGate()))
        await store.record_image(deploy, web)
        for status in (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
            deploy = await store.advance(deploy, status)
        keeper = Keeper(store, lambda _: target, lambda: app, lambda: 1.0)
        async with _running(keeper, target):
            made = Kept(target, store, keeper, app, port, api, instance)
            await made.well()
            yield made


@asynccontextmanager
async def _running(keeper: Keeper, target: DockerTarget) -> AsyncIterator[None]:
    """As the daemon does it."""
    tasks = [asyncio.create_task(target.watch(lambda _app: keeper.wake())), asyncio.create_task(keeper.serve())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks), tasks


HARMS: list[tuple[Callable[[Kept], None], str]] = [
    (Kept.remove, "its container was removed"),
    (Kept.stop, "its container exited with code"),
    (Kept.kill, "its container exited with code 137"),
    (Kept.pause, "its container is paused"),
    (Kept.disconnect, "its container is not in the network deployd-"),
    (Kept.disconnect_from_backend, "its container is not in the network backend-"),
    (Kept.remove_network, "its container is not in the network deployd-"),
    (Kept.stop_and_remove_network, "its container exited with code"),
    (Kept.stop_and_remake_backend, "its container exited with code"),
    (Kept.remove_gateway, "The gateway was started"),
]


async def test_whatever_is_done_by_hand_is_noticed_told_and_undone(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    for harm, words in HARMS:
        caplog.clear()
        caplog.set_level(logging.INFO)
        async with asyncio.timeout(60):
            harm(kept)
            await until(lambda: words in caplog.text)  # noqa: B023 - it is called before the next harm
            await kept.well()
            await answered(kept.port, commit(1))
        said = [
            record.message for record in caplog.records if record.name == "deployd.keeper" and words in record.message
        ]
        assert len(said) <= 1, said


async def test_an_image_that_is_gone_with_its_container_is_told_with_what_can_be_done(
    kept: Kept, docker_engine: Engine
) -> None:
    image = build(docker_engine, f"gone-{kept.instance}", "RUN echo gone > /gone\n")
    live = await kept.store.deploy(NAME, 1)
    assert live is not None
    await kept.keeper.step_back()  # a comparison that had read the old record would restore that image
    await kept.store.record_image(live, image)
    kept.api.delete(f"/images/{image.reference}?force=1")
    assert kept.api.get(f"/images/{image.id}/json") is None
    kept.remove()
    kept.keeper.resume()
    async with asyncio.timeout(60):
        await until(lambda: (health := kept.keeper.health(1)) is not None and "cannot be restored" in health.detail)
    health = kept.keeper.health(1)
    assert health is not None
    assert health.detail.startswith(
        f"its container was removed; it cannot be restored: the image of {NAME}/1 is no longer"
    )
    assert health.detail.endswith(f"no image of an earlier release is left: `deployd deploy {NAME}` builds it again")


async def test_a_switch_at_haproxy_that_is_not_ours_is_undone(kept: Kept) -> None:
    gateway = kept.target._gateway
    route = gateway._routes[NAME]
    await (await gateway.container.runtime()).apply(
        [f"set server {route.backend}/s{number} state maint" for number in range(1, len(route.slots) + 1)]
    )
    async with asyncio.timeout(30):
        kept.keeper.wake()
        await answered(kept.port, commit(1))


async def test_a_release_that_does_not_get_ready_is_told_and_left_alone(kept: Kept) -> None:
    before = kept.container["Id"]
    await kept.target.execute(kept.app, ["touch", "/tmp/unready"], _ignore)
    async with asyncio.timeout(30):
        kept.keeper.wake()
        await until(lambda: kept.keeper.health(1) not in {None, Health()})
    health = kept.keeper.health(1)
    assert health is not None
    assert health.state == "unready"
    assert health.detail == "/ready: 503: the model is not loaded"
    assert kept.container["Id"] == before


async def _ignore(_chunk: bytes) -> None:
    """What it prints does not matter."""
