from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.targets.kubernetes.api_server import ApiServer, api_server
from tests.targets.kubernetes.world import World, a_config, forget_dead_registries
from tests.testbed.cluster import Cluster as RealCluster
from tests.testbed.registry import Registry


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An API server with set answers."""
    async with api_server(tmp_path) as running:
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Cluster]:
    """A client of that server."""
    async with Cluster(str(server.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture
async def world(
    cluster: RealCluster,
    namespace: str,
    base_images: Engine,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """An app in a namespace of its own."""
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    forget_dead_registries(base_images)
    async with KubernetesTarget(a_config(registry, tmp_path), tmp_path / "kubernetes") as target:
        yield World(cluster, base_images, registry, namespace, tmp_path, target)
