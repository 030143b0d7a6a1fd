"""Answers that are kept for a few seconds: asked once for many who look, and again later."""

import asyncio

import pytest

from deployd.api.lately import Lately
from deployd.errors import Unavailable


class Asked:
    """Answers once it may, and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0
        self.may = asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        await self.may.wait()
        return self.times


async def test_all_who_look_at_once_share_one_answer_though_the_first_of_them_goes() -> None:
    asked, lately = Asked(), Lately[int]()
    looking = [asyncio.create_task(lately.of("iris", asked)) for _ in range(20)]
    await asyncio.sleep(0)
    looking[0].cancel()
    asked.may.set()
    assert await asyncio.gather(*looking[1:]) == [1] * 19
    assert (await lately.of("iris", asked), await lately.of("rose", asked)) == (1, 2)


async def test_a_later_look_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.api.lately._FRESH_SECONDS", 0.0)
    asked, lately = Asked(), Lately[int]()
    asked.may.set()
    assert [await lately.of("iris", asked) for _ in range(2)] == [1, 2]


async def test_what_goes_wrong_is_told_to_all_and_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> int:
        raise Unavailable("the disk is away")

    lately = Lately[int]()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await lately.of("iris", away)
    monkeypatch.setattr("deployd.api.lately._FRESH_SECONDS", 0.0)
    asked = Asked()
    asked.may.set()
    assert await lately.of("iris", asked) == 1


async def test_the_answers_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.api.lately._MOST", 3)
    asked, lately = Asked(), Lately[int]()
    asked.may.set()
    for key in range(10):
        await lately.of(key, asked)
    assert len(lately._answers) <= 3
