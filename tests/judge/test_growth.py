"""What came between two readings: of each address, and of what reached none."""

from typing import Any

from deployd.judge.growth import NOWHERE, grown
from deployd.judge.traffic import Counters, Place, Traffic

A, B = "172.20.0.2:5000", "172.20.0.3:5000"


def counted(address: str = A, worker: int = 17, slot: str = "s1", **counters: Any) -> dict[Place, Counters]:
    return {Place(worker, slot, address): Counters(**counters)}


def whole(attempts: int, worker: int = 17) -> dict[Place, Counters]:
    return {Place(worker, "BACKEND", NOWHERE): Counters(attempts=attempts)}


def test_only_what_came_since_the_reading_before_counts() -> None:
    before, now = counted(attempts=100, answered=100), counted(attempts=150, answered=150, errors=9, refused=3)
    assert grown(before | whole(100), now | whole(150)) == {A: Traffic(50, 9, 3)}


def test_an_address_that_was_asked_nothing_is_left_out() -> None:
    same = counted(attempts=7, answered=7) | whole(7)
    assert grown(same, same) == {}


def test_a_slot_with_a_new_address_counts_for_that_from_its_first_request() -> None:
    before, now = counted(A, attempts=100, answered=100), counted(B, attempts=130, answered=130)
    assert grown(before | whole(100), now | whole(130)) == {B: Traffic(30)}


def test_a_new_worker_has_counted_from_zero() -> None:
    old = counted(attempts=100, answered=100) | whole(100)
    new = counted(worker=18, attempts=20, answered=20) | whole(20, worker=18)
    assert grown(old, old | new) == {A: Traffic(20)}


def test_a_worker_that_began_anew_under_the_same_id_counts_from_zero() -> None:
    before, now = counted(attempts=100, answered=100), counted(attempts=4, answered=4)
    assert grown(before | whole(100), now | whole(4)) == {A: Traffic(4)}


def test_requests_that_reached_no_release_went_wrong() -> None:
    before, now = counted(attempts=10, answered=10), counted(attempts=12, answered=12)
    assert grown(before | whole(10), now | whole(17)) == {A: Traffic(2), NOWHERE: Traffic(5, 5)}


def test_a_request_that_was_tried_twice_is_no_request_less_elsewhere() -> None:
    before, now = counted(attempts=10, answered=10), counted(attempts=14, answered=12)
    assert grown(before | whole(10), now | whole(12)) == {A: Traffic(4, 2)}
