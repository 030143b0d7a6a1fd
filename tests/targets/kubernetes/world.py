"""A user's world for the Kubernetes target: a registry, good and bad images, and recorded roll-outs."""

import asyncio
import hashlib
import re
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import structs

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Deploy, GateResult, Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.gates.ready import ReadyGate
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.fakes import FakeLog
from tests.targets.kubernetes.apps import a_deploy
from tests.testbed.cluster import Cluster
from tests.testbed.images import BUSYBOX
from tests.testbed.registry import Registry

PORT = 8080
SERVES = "trap exit TERM; httpd -f -p 8080 -h /www & wait"
CRASHES = "echo loading the model >&2; echo no such file: model.bin >&2; exit 3"
HANGS = "trap exit TERM; sleep 600 & wait"

_RUN = uuid.uuid4().hex
_DOCKERFILE = """FROM {base}
COPY --chown=65534:65534 www /www
USER 65534
CMD ["sh", "-c", "{command}"]
"""


class RecordedProgress:
    """Records what a roll-out reports, in order, and asks the real ready gate."""

    def __init__(self, deploy: Deploy) -> None:
        self._log = FakeLog()
        self.log: Log = self._log
        self.told: list[str] = []
        self.began: dict[str, float] = {}  # the steps, by the loop's clock
        self.results: list[GateResult] = []
        self.image: Image | None = None
        self.files: dict[str, bytes] = {}
        self.outrun = False
        self.refuse = False
        self.cut_over = asyncio.Event()
        self._deploy = deploy

    @property
    def text(self) -> str:
        """The text of the log."""
        return self._log.text

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        self.told.append(name)
        self.began[name] = asyncio.get_running_loop().time()
        yield

    async def tell(self, step: str, text: str) -> None:
        assert step in self.told
        self.log.write(f"{text}\n")

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def prove(self, candidate: Candidate) -> None:
        result = await ReadyGate().ask(candidate, None, self.log)
        self.results.append(result)
        self.told.append(f"proven {result.verdict}")
        if result.verdict == "failed" or self.refuse:
            raise RolloutFailed(f"the ready gate refused it: {result.detail}")

    async def prove_again(self, candidate: Candidate) -> None:
        assert (await ReadyGate().ask(candidate, None, self.log)).verdict == "passed"
        self.told.append("asked again")

    async def judged(self, result: GateResult) -> None:
        self.results.append(result)
        self.told.append("judged")

    async def pushed(self, image: Image) -> None:
        self.image = image
        self.told.append("pushed")

    async def cutting_over(self) -> None:
        if self.outrun:
            raise asyncio.CancelledError
        self.told.append("cutting over")
        self.cut_over.set()

    async def serving(self) -> None:
        self.told.append("serving")


@dataclass
class World:
    """One app in a namespace of its own; made by `a_world`."""

    cluster: Cluster
    engine: Engine
    registry: Registry
    namespace: str
    state: Path
    target: KubernetesTarget
    settings: dict[str, Any] = field(default_factory=dict)
    kubeconfig: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    """The files of every commit."""

    def app(self, **settings: Any) -> App:
        """The app with these keys in `[app.kubernetes]`; `ready` and `gateway` are tables of their own."""
        return App.model_validate(self.written(**settings))

    def written(self, **settings: Any) -> dict[str, Any]:
        """The same as it stands in config.toml."""
        ready, gateway = settings.pop("ready", {"within": "30s"}), settings.pop("gateway", {})
        return {
            "name": "iris",
            "repo": "https://example.com/acme/iris.git",
            "branch": "main",
            "target": "kubernetes",
            "ready": ready,
            "gateway": gateway,
            "kubernetes": {
                "kubeconfig": str(self.kubeconfig or self.cluster.kubeconfig),
                "namespace": self.namespace,
                "port": PORT,
                "patience": "3s",
                "bake": "0",
                **self.settings,
                **settings,
            },
        }

    def image(self, text: str, command: str = SERVES) -> Image:
        """Build an image whose page shows `text`; the engine remembers it from an earlier test of this process."""
        tag = hashlib.sha1(f"{_RUN} {text} {command}".encode()).hexdigest()  # noqa: S324 - stands for a commit
        name = f"{self.registry.address}/iris"
        files = {
            f"www/{path}": text.encode() for path in ("index.html", "v2/health/ready", "v2/health/live", "version")
        }
        files["www/run"] = _RUN.encode()  # no other process's image shares a layer that goes with this one
        images.build(
            self.engine.api(timeout=120), f"{name}:{tag}", _DOCKERFILE.format(base=BUSYBOX, command=command), files
        )
        return Image(name, tag, "")

    async def roll_out(self, app: App, number: int, image: Image, **more: Any) -> RecordedProgress:
        """Roll out, and return when the roll-out is complete."""
        deploy = a_deploy(number, commit=image.tag, **more)
        progress = RecordedProgress(deploy)
        progress.files = self.files
        await self.target.roll_out(app, deploy, image, progress)
        return progress

    def deployment(self) -> dict[str, Any]:
        return self.cluster.api.get("deployments", "iris", self.namespace)

    def running_image(self) -> str:
        return str(self.deployment()["spec"]["template"]["spec"]["containers"][0]["image"])

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments)

    async def sicken(self, progress: RecordedProgress) -> None:
        """End the container of one pod of this roll-out's image, as a model does that crashes after a while."""
        assert progress.image is not None
        pods = self.cluster.api.objects("pods", self.namespace)
        pod = next(
            pod["metadata"]["name"]
            for pod in pods
            if pod["spec"]["containers"][0]["image"] == progress.image.reference
            and "deletionTimestamp" not in pod["metadata"]
        )
        # The container may end before the command in it has.
        await asyncio.to_thread(
            self.cluster.try_kubectl, f"--namespace={self.namespace}", "exec", pod, "--", "kill", "1"
        )

    async def fails(self, app: App, number: int, image: Image) -> tuple[RolloutFailed, RecordedProgress]:
        """Roll out what must fail; return the error and the reports."""
        deploy = a_deploy(number, commit=image.tag)
        progress = RecordedProgress(deploy)
        try:
            await self.target.roll_out(app, deploy, image, progress)
        except RolloutFailed as failed:
            return failed, progress
        raise AssertionError(f"deploy {number} went live: {progress.told}")


def a_config(registry: Registry, state: Path, **more: Any) -> Config:
    """The daemon's config around a Kubernetes target."""
    return Config.model_validate(written_config(registry, state, **more))


def written_config(registry: Registry, state: Path, **more: Any) -> dict[str, Any]:
    """The same as it stands in config.toml."""
    return {
        "server": {"state_dir": str(state), "instance": "test"},
        "registry": {"url": registry.address, "insecure": True, **more},
    }


@cache
def forget_dead_registries(engine: Engine) -> None:
    """Remove images of the registries of earlier test runs: their pods still existed when those runs ended."""
    api = engine.api()
    for image in api.get("/images/json"):
        for tag in image.get("RepoTags") or []:
            found = re.match(r"127\.0\.0\.1:(\d+)/(iris|testbed/)", tag)
            if found and not _listens(int(found[1])):
                with suppress(Unavailable):
                    api.delete(f"/images/{tag}?force=1")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Unpushed:
    """A registry that claims to have every image; the test decides what the cluster finds."""

    prefix = ""

    async def push(self, image: Image, log: Any) -> Image:
        return structs.replace(image, digest=image.digest or "sha256:" + "0" * 64)


async def until(holds: Any, within: float = 60) -> None:
    """Wait for a state that only polling can show."""
    async with asyncio.timeout(within):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.05)
