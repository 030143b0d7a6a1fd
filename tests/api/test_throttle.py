"""How long who guesses tokens has to wait."""

from deployd.api.throttle import Throttle


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_after_a_few_doubles_the_wait_of_its_address_alone() -> None:
    clock = _Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(8):
        throttle.failed("a")
        waits.append(throttle.wait("a"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8]
    assert throttle.wait("b") == 0
    clock.now += 8
    assert throttle.wait("a") == 0


def test_no_address_waits_longer_than_five_minutes_and_a_right_token_ends_it() -> None:
    throttle = Throttle(_Clock())
    for _ in range(50):
        throttle.failed("a")
    assert throttle.wait("a") == 300
    throttle.passed("a")
    assert throttle.wait("a") == 0


def test_all_addresses_together_have_a_number_of_failures_an_hour() -> None:
    clock = _Clock()
    throttle = Throttle(clock)
    for at in range(600):
        throttle.failed(str(at))
        clock.now += 1
    assert throttle.wait("new") == 3000
    clock.now += 3000
    assert throttle.wait("new") == 0


def test_only_the_last_addresses_are_remembered() -> None:
    throttle = Throttle(_Clock())
    for _ in range(6):
        throttle.failed("first")
    for at in range(1000):
        throttle.failed(str(at))
    assert len(throttle._of) == 1000
    assert "first" not in throttle._of
