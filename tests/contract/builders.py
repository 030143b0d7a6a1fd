"""A builder of each kind on the real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine, buildkit_client
from deployd.builders.buildkit import BuildkitBuilder
from deployd.builders.engine import EngineBuilder
from deployd.config.daemon import BuilderSection
from deployd.domain import Image
from deployd.ports.builder import Builder
from tests.builders.builds import a_context, a_request
from tests.conftest import Leaks
from tests.fakes import FakeLog

KINDS = ["engine", "buildkit"]

_KEPT = {"unnamed-images", "unfinished-builds", "logs"}


class Bench:
    """A builder of one kind on the real engine, and others like it."""

    def __init__(self, kind: str, engine: Engine, leaks: Leaks, state: Path) -> None:
        leaks.expect("image deployd/*/iris:*")
        self.kind, self.instance = kind, leaks.instance
        self._url, self._state = engine.url, state
        self.builder = self.one_with()

    def one_with(self, url: str | None = None, **settings: object) -> Builder:
        """Another of the kind, with these settings of `[builder]`."""
        section = BuilderSection.model_validate({"kind": self.kind, **settings})
        if self.kind == "engine":
            return EngineBuilder(section, self._state, url=url or self._url)
        client = buildkit_client()
        if client is None:
            pytest.skip("no docker client here can build with BuildKit")
        return BuildkitBuilder(section, self._state, client=client, url=url or self._url)


def a_bench(kind: str, engine: Engine, leaks: Leaks, state: Path) -> Iterator[Bench]:
    """A bench for a fixture. In the end nothing but what its builders keep is in the state directory."""
    yield Bench(kind, engine, leaks, state)
    assert [path.name for path in state.iterdir() if path.name not in _KEPT] == []


async def built(bench: Bench, dockerfile: str) -> Image:
    """The image of this Dockerfile, which no other test has."""
    async with a_context(f"{dockerfile}\nLABEL of={bench.instance}\n") as context:
        return await bench.builder.build(a_request(bench.instance), context, FakeLog())
