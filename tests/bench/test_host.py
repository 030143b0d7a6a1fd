import os
import time

from bench.host import Ticks, processor_seconds


def test_steal_is_the_eighth_figure_and_guests_are_not_counted_twice() -> None:
    assert Ticks.of("cpu  1 2 3 4 5 6 7 8 100 200\n") == Ticks(stolen=8, all=36)


def test_the_stolen_share_is_between_0_and_1() -> None:
    before = Ticks.now()
    assert before.all > before.stolen >= 0
    assert 0 <= before.stolen_since() <= 1


def test_the_stolen_share_counts_only_the_time_since_then() -> None:
    now = Ticks.now()
    long_ago = Ticks(now.stolen - 30, now.all - 120)
    assert long_ago.stolen_since() > 0
    assert Ticks(now.stolen, now.all - 10**9).stolen_since() < 0.01


def test_the_processor_time_of_a_process_grows_with_its_work() -> None:
    before, began = processor_seconds(os.getpid()), time.process_time()
    while time.process_time() - began < 0.1:
        pass
    assert 0.05 <= processor_seconds(os.getpid()) - before <= 10
