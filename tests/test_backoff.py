from deployd.backoff import DELAYS, Backoff


def test_the_delays_grow_and_the_last_one_stays() -> None:
    backoff = Backoff()
    assert [backoff.fail() for _ in range(8)] == [*DELAYS, DELAYS[-1], DELAYS[-1]]
    assert backoff.failures == 8


def test_after_a_success_it_begins_anew() -> None:
    backoff = Backoff((0.1, 0.5))
    backoff.fail()
    backoff.fail()
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.fail() == 0.1


def test_jitter_spreads_each_delay_by_at_most_its_share() -> None:
    drawn = {Backoff((10.0,), jitter=0.2).fail() for _ in range(200)}
    assert len(drawn) > 100
    assert 8.0 <= min(drawn) < 9.0
    assert 11.0 < max(drawn) <= 12.0
