"""A source with an empty directory, and a repository that it can fetch by its path."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.config.daemon import Git
from deployd.source.source import GitSource
from tests.source.repositories import Lines, Repository

SETTINGS = Git.model_validate({"allow_file": True, "timeout": "2m", "max_size": "64MiB"})
WAITS = (0.01, 0.02, 0.04)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty bare repository."""
    return Repository.create(tmp_path / "remotes" / "iris.git")


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[GitSource]:
    """A source that allows local repositories, and waits only milliseconds between attempts."""
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as made:
        yield made
