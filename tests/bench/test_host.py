from bench.host import Ticks


def test_what_the_host_took_is_a_share_of_all_processors() -> None:
    before = Ticks.now()
    assert before.all > before.stolen >= 0
    assert 0 <= before.stolen_since() <= 1


def test_the_ticks_are_those_of_the_kernels_first_line() -> None:
    now = Ticks.now()
    long_ago = Ticks(now.stolen - 30, now.all - 120)
    assert long_ago.stolen_since() > 0
    assert Ticks(now.stolen, now.all - 10**9).stolen_since() < 0.01
