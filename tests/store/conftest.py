"""A store on a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.events import Events
from deployd.store.database import Database
from deployd.store.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())
