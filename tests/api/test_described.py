"""What runs of an app: asked once for many who look, and no error keeps a page from being drawn."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from deployd.api.described import Described
from deployd.config.app import App
from deployd.config.file import parse
from deployd.errors import Unavailable
from deployd.ports.target import Target
from tests.desk import settings

APP = parse(settings("iris")).app[0]


class FakeTarget:
    """Answers once it may, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = asyncio.Event()
        self.trouble: Unavailable | None = None

    async def describe(self, app: App) -> Mapping[str, Any]:
        self.asked += 1
        await self.may.wait()
        if self.trouble is not None:
            raise self.trouble
        return {"app": app.name}


async def test_all_who_look_at_once_share_one_answer() -> None:
    fake, described = FakeTarget(), Described()
    target = cast("Target", fake)
    looking = [asyncio.create_task(described.of(APP, target)) for _ in range(20)]
    await asyncio.sleep(0)
    looking[0].cancel()  # its browser has gone
    fake.may.set()
    assert await asyncio.gather(*looking[1:]) == [{"app": "iris"}] * 19
    assert await described.of(APP, target) == {"app": "iris"}
    assert fake.asked == 1


async def test_a_later_look_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.api.described._FRESH_SECONDS", 0.0)
    fake, described = FakeTarget(), Described()
    fake.may.set()
    for _ in range(2):
        await described.of(APP, cast("Target", fake))
    assert fake.asked == 2


async def test_trouble_and_silence_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.api.described._TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("deployd.api.described._FRESH_SECONDS", 0.0)
    fake, described = FakeTarget(), Described()
    silent = await described.of(APP, cast("Target", fake))
    fake.may.set()
    fake.trouble = Unavailable("the engine is away")
    away = await described.of(APP, cast("Target", fake))
    assert isinstance(silent, Unavailable)
    assert str(silent).startswith("no answer within")
    assert away is fake.trouble
