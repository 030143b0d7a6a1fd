from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.targets.kube.client import Cluster
from tests.targets.kube.api_server import ApiServer, api_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An API server that does what it is told."""
    async with api_server(tmp_path) as running:
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Cluster]:
    """A client of that server."""
    async with Cluster(str(server.kubeconfig)) as cluster:
        yield cluster
