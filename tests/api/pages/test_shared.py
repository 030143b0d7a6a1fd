"""What many browsers ask for at the same moment is drawn once."""

import asyncio

import pytest
from starlette.responses import Response

from deployd.api.pages import shared
from deployd.api.pages.shared import Shared
from deployd.errors import Unavailable


class _Pen:
    def __init__(self) -> None:
        self.drew = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> Response:
        self.drew += 1
        await self.may_end.wait()
        return Response(str(self.drew))


async def test_all_who_ask_after_the_same_event_get_one_drawing() -> None:
    pen, drawings = _Pen(), Shared()
    asked = [asyncio.create_task(drawings.drawn("home", 7, pen)) for _ in range(200)]
    await asyncio.sleep(0)
    asked[0].cancel()  # one browser goes away
    pen.may_end.set()
    assert {bytes(answer.body) for answer in await asyncio.gather(*asked[1:])} == {b"1"}
    assert bytes((await drawings.drawn("home", 7, pen)).body) == b"1"


async def test_a_newer_event_another_page_and_time_need_a_new_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    pen, drawings = _Pen(), Shared()
    pen.may_end.set()
    for key, event, drew in (("home", 7, 1), ("home", 8, 2), ("app", 8, 3), ("home", 8, 3)):
        await drawings.drawn(key, event, pen)
        assert pen.drew == drew, key
    monkeypatch.setattr(shared, "_FRESH_SECONDS", 0.0)
    await drawings.drawn("home", 8, pen)
    assert pen.drew == 4


async def test_a_drawing_that_fails_is_not_kept() -> None:
    drawings, pen = Shared(), _Pen()
    pen.may_end.set()

    async def fails() -> Response:
        raise Unavailable("the database cannot be read")

    with pytest.raises(Unavailable):
        await drawings.drawn("home", 1, fails)
    assert bytes((await drawings.drawn("home", 1, pen)).body) == b"1"


async def test_only_the_last_drawings_are_kept() -> None:
    drawings, pen = Shared(), _Pen()
    pen.may_end.set()
    for at in range(150):
        await drawings.drawn(at, 1, pen)
    assert len(drawings._drawings) == 100
