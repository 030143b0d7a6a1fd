from typing import Any

from deployd.judge.traffic import Counters, Place, Reading, Traffic, Window

A, B = "172.20.0.2:5000", "172.20.0.3:5000"


def reading(worker: int = 17, slot: str = "s1", address: str = A, **counters: Any) -> Reading:
    return {Place(worker, slot, address): Counters(**counters)}


def seen(first: Reading, *later: Reading) -> Traffic:
    window = Window(first)
    for each in later:
        window.add(each)
    return window.of(A)


def test_requests_from_before_the_window_do_not_count() -> None:
    before, after = reading(attempts=100, answered=100, errors=7), reading(attempts=150, answered=150, errors=9)
    assert seen(before, after) == Traffic(requests=50, bad=2)


def test_an_attempt_without_an_answer_is_bad_unless_it_is_in_progress_or_the_client_went_away() -> None:
    assert seen(reading(), reading(attempts=10, answered=6, open=2, given_up=1)).bad == 1


def test_a_request_that_was_in_progress_at_the_beginning_is_never_taken_for_a_bad_one() -> None:
    before = reading(attempts=10, answered=8, open=2)
    assert seen(before, reading(attempts=10, answered=10)).bad == 0
    # Both had got the head of their answer, and its body was still on its way.
    answered = reading(attempts=10, answered=10, open=2)
    assert seen(answered, reading(attempts=10, answered=10)).bad == 0


def test_4xx_are_counted_apart() -> None:
    assert seen(reading(), reading(attempts=5, answered=5, refused=3)) == Traffic(requests=5, refused=3)


def test_a_slot_that_another_container_had_counts_from_when_it_was_seen_first() -> None:
    former = reading(address=B, attempts=90, answered=40)
    assert seen(former, reading(attempts=91, answered=41), reading(attempts=95, answered=44)) == Traffic(4, 1)


def test_a_new_worker_counts_from_zero_and_the_figures_of_one_that_ended_stay() -> None:
    old, new = reading(17, attempts=10, answered=10), reading(18, attempts=3, answered=2)
    before = reading(17, attempts=4, answered=4)
    assert seen(before, old, {**old, **new}, new) == Traffic(9, 1)


def test_a_process_that_gets_the_id_of_a_former_one_counts_from_zero() -> None:
    assert seen(reading(attempts=4, answered=4), reading(attempts=9, answered=9), reading(attempts=2, answered=2)) == (
        Traffic(7)
    )


def test_durations_are_counted_by_their_class() -> None:
    place = Place(17, "s1", A)
    before, after = Counters(latencies={1200: 5, 40: 1}), Counters(latencies={1200: 8, 40: 1, 900: 2})
    assert seen({place: before}, {place: after}).latencies == {1200: 3, 900: 2}


def test_a_request_waits_until_its_answer_begins() -> None:
    assert seen(reading(), reading(attempts=10, answered=6, open=4)).unanswered == 4
    streamed = seen(reading(), reading(attempts=10, answered=10, open=4))
    assert (streamed.unanswered, streamed.bad) == (0, 0)
