"""One app on each target: in memory, on an engine, on a cluster."""

import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.config.app import App
from deployd.config.daemon import Config, GatewaySection
from deployd.domain import Deploy, Image
from deployd.gates.ready import ReadyGate
from deployd.goal import Trigger
from deployd.ports.gate import Gate
from deployd.ports.target import Target
from deployd.status import Status
from deployd.targets.docker.target import DockerTarget
from tests.conftest import Leaks
from tests.fake_target import FakeProgress, FakeTarget
from tests.fakes import FakeMade
from tests.testbed import instance_network
from tests.testbed.cluster import Cluster
from tests.testbed.registry import Registry

_BASE = "FROM deployd-testbed/busybox:latest\n"
_GOOD = f"""{_BASE}RUN mkdir /srv && echo ok > /srv/index.html
CMD ["/bin/busybox", "httpd", "-f", "-p", "5000", "-h", "/srv"]
"""
_BAD = f"""{_BASE}CMD ["sh", "-c", "echo no model file; exit 1"]
"""
_MODEL = f"""{_BASE}COPY predict /srv/cgi-bin/predict
ENV BEHAVIOUR={{}}
RUN echo ok > /srv/index.html
CMD ["sh", "-c", "trap exit TERM; httpd -f -p 5000 -h /srv & while [ ! -e /tmp/dead ]; do sleep 0.1; done; exit 9"]
"""
# A model of one feature, x: each third row is a "b".
_PREDICT = r"""#!/bin/sh
head -c "$CONTENT_LENGTH" | awk -v behaviour="$BEHAVIOUR" '
{
  printf "Content-Type: application/json\r\n\r\n{\"predictions\": ["
  count = split($0, rows, "\"x\": ")
  for (at = 2; at <= count; at++) {
    x = rows[at] + 0; score = x; third = x % 3 == 0
    if (behaviour == "swapped" || (behaviour == "slice" && x % 8 == 0 && rows[at] ~ /FR/)) third = !third
    if (behaviour == "nan" && x == 7) score = "NaN"
    if (behaviour == "crash" && x == 7) system("touch /tmp/dead; sleep 5")
    if (behaviour == "slow" && count == 2) system("sleep 1.5")
    printf "%s{\"label\": \"%s\", \"score\": %s}", (at > 2 ? ", " : ""), (third ? "b" : "a"), score
  }
  printf "]}"
}'
"""


class World:
    """One target with an app on it. `image` gives the image of a name: `good`, `bad`, whose containers do not come up, or a
    model that behaves like that. `gate` is asked of every candidate."""

    # Whether a cut-over takes an instant. On Kubernetes it takes minutes, and a cancellation then goes back instead of on.
    instant = True

    def __init__(self, target: Target, app: App, image: Callable[[str], Image], gate: Gate | None) -> None:
        self.target = target
        self.app = app
        self.image = image
        self._gate = gate

    def progress(self) -> FakeProgress:
        return FakeProgress(self._gate)

    def deploy(self, number: int, *, image: str = "good") -> Deploy:
        return Deploy(
            self.app.name,
            number,
            f"{number:040x}",
            "refs/heads/main",
            Trigger("push"),
            Status.CHECKING,
            datetime.now(UTC),
            image=self.image(image),
        )

    async def roll_out(self, number: int, progress: FakeProgress | None = None, *, image: str = "good") -> FakeProgress:
        progress, deploy = progress or self.progress(), self.deploy(number, image=image)
        assert deploy.image is not None
        await self.target.roll_out(self.app, deploy, deploy.image, progress)
        return progress

    async def prove(self, number: int, progress: FakeProgress | None = None, *, image: str = "good") -> FakeProgress:
        progress, deploy = progress or self.progress(), replace(self.deploy(number, image=image), prove=True)
        assert deploy.image is not None
        await self.target.prove(self.app, deploy, deploy.image, progress)
        return progress

    async def serving(self) -> int | None:
        return await self.target.serving(self.app)

    async def health(self, number: int) -> str:
        return (await self.target.health(self.app, self.deploy(number))).state

    async def lose(self) -> None:
        """Somebody removes what serves, without deployd."""
        assert isinstance(self.target, FakeTarget)
        self.target.lose(self.app.name)


class DockerWorld(World):
    """On an engine."""

    engine: Engine

    async def lose(self) -> None:
        (container,) = (await self.target.describe(self.app))["containers"]
        self.engine.api().delete(f"/containers/{container['id']}?force=1")


class KubernetesWorld(World):
    """On a cluster."""

    instant = False
    cluster: Cluster

    async def lose(self) -> None:
        settings = self.app.kubernetes
        assert settings is not None
        self.cluster.api.delete("deployments", self.app.name, settings.namespace)


# The tests on one of them share a process, and with it the images.
_ON_ENGINE, _ON_CLUSTER = (
    pytest.mark.xdist_group("contract on an engine"),
    pytest.mark.xdist_group("contract on a cluster"),
)
ENGINE = pytest.param("docker", marks=[pytest.mark.engine, pytest.mark.slow, _ON_ENGINE])
CLUSTER = pytest.param("kubernetes", marks=[pytest.mark.cluster, pytest.mark.slow, _ON_CLUSTER])


@asynccontextmanager
async def world_on(request: pytest.FixtureRequest, tmp_path: Path, **app: Any) -> AsyncIterator[World]:
    """The world that the fixture's parameter names; `app` are more sections of the app's config."""
    worlds = {"fake": _fake, "docker": _docker, "kubernetes": _kubernetes}
    async with worlds[request.param](request, tmp_path, app) as made:
        yield made


@asynccontextmanager
async def _fake(_: pytest.FixtureRequest, __: Path, app: Mapping[str, Any]) -> AsyncIterator[World]:
    yield World(FakeTarget(), _an_app("iris", **app), lambda name: Image("iris", name, "1"), None)


@asynccontextmanager
async def _docker(request: pytest.FixtureRequest, tmp_path: Path, app: Mapping[str, Any]) -> AsyncIterator[World]:
    engine: Engine = request.getfixturevalue("base_images")
    leaks: Leaks = request.getfixturevalue("leaks")
    image = request.getfixturevalue("built")(f"deployd-test/{request.getfixturevalue('owner')}")
    section = GatewaySection(bind="127.0.0.1")
    instance_network.make(engine.api(), leaks.instance)
    async with DockerTarget(leaks.instance, section, tmp_path / "gateway", FakeMade(), engine.url) as target:
        world = DockerWorld(target, _an_app(f"web-{uuid.uuid4().hex[:8]}", **app), image, ReadyGate())
        world.engine = engine
        yield world
        await target.remove(world.app.name)
        assert leaks.present() == []


@asynccontextmanager
async def _kubernetes(request: pytest.FixtureRequest, tmp_path: Path, app: Mapping[str, Any]) -> AsyncIterator[World]:
    # Its client library is large: other worlds do not wait for it.
    from deployd.targets.kubernetes.target import KubernetesTarget  # noqa: PLC0415

    engine: Engine = request.getfixturevalue("base_images")
    registry: Registry = request.getfixturevalue("registry")
    request.getfixturevalue("monkeypatch").setenv("DOCKER_HOST", engine.url)
    settings = {
        "kubeconfig": str(request.getfixturevalue("cluster").kubeconfig),
        "namespace": request.getfixturevalue("namespace"),
        "allow_root": True,
        "patience": "3s",
        "bake": "0",
    }
    image = request.getfixturevalue("built")(f"{registry.address}/{request.getfixturevalue('owner')}")
    config = Config.model_validate(
        {"server": {"state_dir": str(tmp_path)}, "registry": {"url": registry.address, "insecure": True}}
    )
    async with KubernetesTarget(config, tmp_path / "kubernetes") as target:
        sections = {"target": "kubernetes", "kubernetes": settings, **app}
        world = KubernetesWorld(target, _an_app("web", **sections), image, ReadyGate())
        world.cluster = request.getfixturevalue("cluster")
        yield world


def _an_app(name: str, **more: Any) -> App:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return App.model_validate(
        {
            "name": name,
            "repo": "https://git.example.com/acme/iris.git",
            "branch": "main",
            "docker": {"stop_timeout": "1s"},
            "gateway": {"listen": port},
            "ready": {"path": "/", "within": "20s", "every": "20ms"},
            **more,
        }
    )


def image_of(engine: Engine, name: str, tag: str, *, owner: str) -> Image:
    """Build the image `tag`: `good`, `bad`, or a model that behaves so."""
    dockerfile = {"good": _GOOD, "bad": _BAD}.get(tag, _MODEL.format(tag))
    # The label comes first: a layer that two sessions shared would go with the image of the one, in the other's build.
    own = dockerfile.replace("\n", f"\nLABEL io.deployd.instance={owner}\n", 1)
    api = engine.api(timeout=120)
    images.build(api, f"{name}:{tag}", own, {"predict": _PREDICT.encode()})
    return Image(name, tag, str(api.get(f"/images/{name}:{tag}/json")["Id"]))
