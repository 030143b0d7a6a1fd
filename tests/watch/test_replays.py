"""Golden answers asked again and again: of the release that is watched, and of the one that stands by."""

import asyncio

from deployd.domain import GateResult
from deployd.errors import Unavailable
from deployd.watch.replays import Replays, Standby

GOOD = GateResult("golden", "passed", "3 of 3")
BAD = GateResult("golden", "failed", "case 2: $.label: 0, expected 1", rows=({"got": 0, "expected": 1},))


class Answers:
    """The results of the next replays; the last is repeated."""

    def __init__(self, *results: GateResult | None) -> None:
        self._results = list(results)

    async def __call__(self) -> GateResult | None:
        return self._results.pop(0) if len(self._results) > 1 else self._results[0]


async def _measured(sign: Replays, count: int) -> list[str]:
    return [await sign.measure() for _ in range(count)]


async def test_two_failed_replays_in_a_row_fail_the_watch() -> None:
    sign = Replays(Answers(GOOD, BAD, BAD))
    said = await _measured(sign, 3)
    assert said == ["", "", f"its golden answers were wrong 2 times in a row: {BAD.detail}"]
    result = sign.result()
    assert (result.verdict, result.moment, result.rows) == ("failed", "after", BAD.rows)
    assert result.figures == {"replays": 3, "failed": 2}


async def test_failed_replays_with_a_good_one_between_are_only_told() -> None:
    sign = Replays(Answers(BAD, GOOD, BAD, GOOD))
    assert await _measured(sign, 4) == [""] * 4
    result = sign.result()
    assert (result.verdict, result.detail) == (
        "warned",
        f"2 of 4 replays failed, but never two in a row: {BAD.detail}",
    )


async def test_good_replays_are_counted() -> None:
    sign = Replays(Answers(GOOD))
    assert await _measured(sign, 5) == [""] * 5
    assert (sign.result().verdict, sign.result().detail) == ("passed", "5 of 5 replays passed")


async def test_a_release_that_is_not_asked_is_not_judged() -> None:
    sign = Replays(Answers(None))
    assert await _measured(sign, 2) == ["", ""]
    assert sign.result().verdict == "not_judged"


async def not_ended() -> str:
    return ""


async def test_a_standby_is_known_to_be_good_once_it_was_asked() -> None:
    async def ask() -> str:
        return ""

    standby = Standby(ask, not_ended)
    following = asyncio.create_task(standby.follow())
    assert await standby.trouble() == ""
    assert standby.runs
    following.cancel()
    await asyncio.wait({following})


async def test_a_standby_that_cannot_be_asked_cannot_take_over() -> None:
    async def ask() -> str:
        raise Unavailable("the engine is away")

    standby = Standby(ask, not_ended)
    following = asyncio.create_task(standby.follow())
    assert await standby.trouble() == "the engine is away"
    following.cancel()
    await asyncio.wait({following})


async def test_a_standby_that_does_not_run_by_design_has_no_trouble() -> None:
    async def ask() -> None:
        return None

    standby = Standby(ask, not_ended)
    following = asyncio.create_task(standby.follow())
    assert await standby.trouble() == ""
    assert not standby.runs
    following.cancel()
    await asyncio.wait({following})


async def test_a_standby_that_has_just_ended_cannot_take_over_though_its_last_answer_was_good() -> None:
    async def ask() -> str:
        return ""

    async def ended() -> str:
        return "its container was removed"

    standby = Standby(ask, ended)
    following = asyncio.create_task(standby.follow())
    assert await standby.trouble() == "its container was removed"
    following.cancel()
    await asyncio.wait({following})
