"""Models that are trained once a session, and a service in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from model_service import train
from model_service.app import create_app
from model_service.fitting import fit
from model_service.manifest import Manifest
from model_service.quality import measure
from model_service.service import Service
from model_service.settings import Settings
from tests.model_service.tasks import TREES, polynomial_ridge


@pytest.fixture(scope="session")
def iris_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("iris")
    assert train.main(["--out", str(out)]) == 0
    return out


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """A client of a service in this process, and the service."""
    service = Service(settings)
    await service.load()
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://model.example.com") as client:
        yield client, service
    await service.close()


@pytest.fixture
async def service(iris_dir: Path) -> AsyncIterator[Service]:
    service = Service(Settings(dir=iris_dir, max_body=100_000, max_rows=1000))
    await service.load()
    yield service
    await service.close()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://model.example.com") as client:
        yield client


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    fitted = fit(TREES["regression tree"](0), seed=0)
    return train.write(fitted, tmp_path_factory.mktemp("regressor"), form="auto", metrics=measure(fitted))


@pytest.fixture(scope="session")
def polynomial_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("polynomial")
    fitted = fit(polynomial_ridge(), seed=0)
    train.write(fitted, out, form="auto", metrics=measure(fitted))
    return out
