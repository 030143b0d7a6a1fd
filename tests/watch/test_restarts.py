"""What ends of a release between two measurements."""

from collections.abc import Sequence

import pytest

from deployd.ports.watching import Life, Lives
from deployd.watch.restarts import Restarts, ended_since

RUNS = {"c1": Life("its container", "0 10:00")}
OOM = "was killed for lack of memory (limit 64 MiB)"


@pytest.mark.parametrize(
    ("before", "now", "ends"),
    [
        (RUNS, RUNS, []),
        ({}, RUNS, []),
        (RUNS, {"c1": Life("its container", "0 10:00", OOM)}, [f"its container {OOM}"]),
        ({}, {"c1": Life("its container", "0 10:00", OOM)}, [f"its container {OOM}"]),
        (RUNS, {"c1": Life("its container", "1 10:05")}, ["its container ended and was started again"]),
        (RUNS, {"": Life("its container", "", "was removed")}, ["its container was removed"]),
        ({"p": Life("pod a", "0")}, {"q": Life("pod b", "0")}, []),
        (
            {"p": Life("pod a", "0")},
            {"p": Life("pod a", "1", before="exited with code 3")},
            ["pod a exited with code 3 and was started again"],
        ),
        (
            {"p": Life("pod a", "0"), "q": Life("pod b", "0")},
            {"p": Life("pod a", "0", "exited with code 1"), "q": Life("pod b", "1", "exited with code 2")},
            ["pod a exited with code 1", "pod b exited with code 2"],
        ),
    ],
)
def test_an_end_is_told_with_how_it_ended(before: Lives, now: Lives, ends: Sequence[str]) -> None:
    assert ended_since(before, now) == ends


def test_an_end_is_told_once_though_it_is_started_again_later() -> None:
    ended = {"c1": Life("its container", "0 10:00", "exited with code 1")}
    assert ended_since(ended, ended) == []
    assert ended_since(ended, {"c1": Life("its container", "1 10:05")}) == []


def test_a_second_end_is_told_again() -> None:
    first = {"c1": Life("its container", "0 10:00", "exited with code 1")}
    second = {"c1": Life("its container", "1 10:05", "exited with code 2")}
    assert ended_since(first, second) == ["its container exited with code 2"]


class Lived:
    """What a target would say at each measurement."""

    def __init__(self, *lives: Lives) -> None:
        self._lives = list(lives)

    async def __call__(self) -> Lives:
        return self._lives.pop(0)


async def test_a_release_whose_container_runs_on_has_passed() -> None:
    sign = Restarts(Lived(RUNS, RUNS))
    assert [await sign.measure(), await sign.measure()] == ["", ""]
    assert (sign.result().verdict, sign.result().moment) == ("passed", "after")


async def test_one_end_is_enough_and_is_in_the_figures() -> None:
    sign = Restarts(Lived(RUNS, {"c1": Life("its container", "0 10:00", OOM)}))
    assert await sign.measure() == ""
    assert await sign.measure() == f"its container {OOM}"
    result = sign.result()
    assert (result.verdict, result.detail) == ("failed", f"its container {OOM}")
    assert result.figures == {"ends": 1, "running": 0}


async def test_a_release_that_was_never_seen_is_not_judged() -> None:
    assert Restarts(Lived()).result().verdict == "not_judged"
