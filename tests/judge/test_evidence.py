"""How often good and bad releases are refused, by a simulation with a fixed seed."""

import random

import pytest

from deployd.judge.evidence import ENOUGH, Count, Evidence

STEPS = ((0.05, 100), (0.25, 100))  # two of 10 s


def refused(chance: random.Random, rps: int, new: float, old: float, burst: int = 1) -> bool:
    """Whether a canary refuses a release with such a rate of errors, which come in bursts."""
    evidence, asked, wrong = Evidence(), [0, 0], [0, 0]
    for share, ticks in STEPS:
        evidence.begin_step()
        for _ in range(ticks):
            for _ in range(rps // 10):
                which = int(chance.random() >= share)
                asked[which] += 1
                if chance.random() < (new, old)[which] / burst:
                    wrong[which] += burst
            evidence.tick(share, Count(asked[0], wrong[0]), Count(asked[1], wrong[1]))
            if evidence.enough:
                return True
    return False


def share_refused(canaries: int, rps: int, new: float, old: float, burst: int = 1) -> float:
    chance = random.Random(20_000)
    return sum(refused(chance, rps, new, old, burst) for _ in range(canaries)) / canaries


@pytest.mark.parametrize(("errors", "burst"), [(0.001, 1), (0.01, 1), (0.05, 1), (0.01, 5)])
def test_releases_that_err_as_often_as_the_old_one_are_not_refused(errors: float, burst: int) -> None:
    assert share_refused(100, 100, errors, errors, burst) == 0


@pytest.mark.parametrize(
    ("new", "old", "caught"), [(1.0, 0.0, 1.0), (0.2, 0.0, 1.0), (0.05, 0.0, 0.9), (0.1, 0.01, 0.9)]
)
def test_releases_that_err_more_often_are_refused(new: float, old: float, caught: float) -> None:
    assert share_refused(40, 100, new, old) >= caught


def test_a_few_requests_suffice_for_one_that_always_errs() -> None:
    assert share_refused(40, 10, 1.0, 0.0) >= 0.9


def test_three_errors_are_too_few_and_many_at_once_are_one() -> None:
    evidence = Evidence()
    for tick, events in enumerate((50, 60, 61), start=1):
        evidence.tick(0.001, Count(70, events), Count(70_000 * tick, 0))
    assert evidence.value < ENOUGH
    evidence.tick(0.001, Count(70, 62), Count(280_000, 0))
    assert evidence.value > ENOUGH
    assert evidence.enough


def test_a_difference_that_does_not_matter_refuses_nothing() -> None:
    evidence = Evidence()
    for tick in range(1, 60):
        evidence.tick(0.05, Count(10_000 * tick, tick), Count(200_000 * tick, 0))
    assert evidence.value > ENOUGH
    assert not evidence.enough


def test_what_few_clients_send_to_one_release_counts_by_the_share_that_was_seen() -> None:
    drawn, sticky = Evidence(), Evidence()
    for tick in range(1, 9):
        drawn.tick(0.05, Count(10 * tick, tick), Count(190 * tick, 0))
        sticky.tick(0.05, Count(100 * tick, tick), Count(100 * tick, 0))
    assert drawn.value > ENOUGH > 1000 > sticky.value
