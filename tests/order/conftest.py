"""Daemons for the tests of the order, and what their repositories hold."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.order.model import clock
from tests.works import Works, works

PATHS = ["model", "Dockerfile"]
DOCS = {"docs/index.md": b"words"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    """A daemon with one app that wants everything."""
    async with works(tmp_path) as made:
        yield made


@pytest.fixture
async def filtered(tmp_path: Path) -> AsyncIterator[Works]:
    """An app that wants `model` and the Dockerfile alone."""
    async with works(tmp_path, {"paths": PATHS}) as made:
        yield made


@pytest.fixture
def own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes and looks read the clock of the loop that runs."""
    for module in ("deployd.lane", "deployd.order.repository"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock.now))


async def numbers(daemon: Works, app: str = "iris") -> list[int]:
    """The numbers of an app's deploys, the newest first."""
    return [deploy.number for deploy in await daemon.store.deploys(app)]
