"""From a built image to a complete rollout on Kubernetes: deployd against docker push, kubectl set image and rollout status.

Both roll out the same template (three replicas, deployd's probes) on the same cluster in the same round, each in its own
namespace, and both push a new layer to the same registry first. deployd also checks the digest, runs its ready gate and reports
reasons; its bake, for which kubectl has no equivalent, is off.
"""

import asyncio
import copy
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.report import Report, interleaved
from deployd.bringup import engine as engines
from deployd.bringup.progress import Progress
from deployd.domain import Image
from deployd.errors import Unavailable
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.targets.kubernetes.world import World, a_config
from tests.testbed import cluster as clusters
from tests.testbed import images
from tests.testbed.registry import registry as run_registry

_OURS, _THEIRS = "deployd", "kubectl set image + rollout status"
_REPLICAS = 3


def run(quick: bool, report: Report) -> None:
    """Measure both; without a cluster the bench is reported as absent."""
    progress = Progress()
    try:
        cluster = clusters.cluster(progress)
        engine = engines.ensure(progress)
        images.ensure(engine, progress)
    except Unavailable as exc:
        report.absent("Kubernetes", f"{exc.message} ({exc.hint})")
        return
    os.environ["DOCKER_HOST"] = engine.url
    with (
        run_registry() as registry,
        cluster.namespace() as ours,
        cluster.namespace() as theirs,
        tempfile.TemporaryDirectory() as directory,
    ):
        state = Path(directory)
        target = KubernetesTarget(a_config(registry, state), state / "kubernetes")
        world = World(cluster, engine, registry, ours, state, target)
        asyncio.run(_measure(world, theirs, 2 if quick else 10, report))
    report.ratio("deployd / kubectl", _OURS, _THEIRS)
    pairs = zip(report.samples[_OURS], report.samples[_THEIRS], strict=True)
    for mine, kubectl in pairs:
        report.sample("deployd over kubectl", mine - kubectl, "s")
    report.bar("push -> complete beyond kubectl", "<=", 0.5, "deployd over kubectl", "s")


async def _measure(world: World, theirs: str, rounds: int, report: Report) -> None:
    app = world.app(replicas=_REPLICAS)
    async with world.target:
        await world.roll_out(app, 1, world.image("first"))
        _twin(world, theirs)
        for turn, name in interleaved(rounds, (_OURS, _THEIRS)):
            image = await asyncio.to_thread(world.image, f"{name} {turn}")
            image = _named(world, image, name)
            began = time.monotonic()
            if name == _OURS:
                await world.roll_out(app, turn + 2, image)
            else:
                await asyncio.to_thread(_by_kubectl, world, theirs, image)
            report.sample(name, time.monotonic() - began, "s")


def _named(world: World, image: Image, name: str) -> Image:
    """Give kubectl's images another repository, so that it does not find our layers there."""
    if name == _OURS:
        return image
    other = replace(image, name=f"{image.name}-twin")
    _docker(world, "tag", f"{image.name}:{image.tag}", f"{other.name}:{other.tag}")
    return other


def _by_kubectl(world: World, namespace: str, image: Image) -> None:
    reference = f"{image.name}:{image.tag}"
    _docker(world, "push", "--quiet", reference)
    world.cluster.kubectl("set", "image", "deployment/iris", f"iris={reference}", f"--namespace={namespace}")
    world.cluster.kubectl("rollout", "status", "deployment/iris", f"--namespace={namespace}")


def _docker(world: World, *arguments: str) -> None:
    command = ["docker", "--host", world.engine.url, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def _twin(world: World, namespace: str) -> None:
    """Copy the Deployment that deployd made, for kubectl."""
    found: dict[str, Any] = copy.deepcopy(world.deployment())
    kept = {key: found["metadata"][key] for key in ("name", "labels")}
    manifest = {**{key: found[key] for key in ("apiVersion", "kind", "spec")}, "metadata": kept}
    world.cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", given=json.dumps(manifest))
    world.cluster.kubectl("rollout", "status", "deployment/iris", f"--namespace={namespace}")
