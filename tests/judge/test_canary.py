"""The verdicts on whole canaries, second by second."""

from deployd.judge.canary import Both, CanaryJudge
from deployd.judge.traffic import Traffic


def fast(requests: int, **more: int) -> Traffic:
    """All of them were answered within 2 ms, but for those that wait."""
    return Traffic(requests, latencies={2000: requests - more.get("unanswered", 0)}, **more)


def measured(judge: CanaryJudge, new: list[Traffic], old: list[Traffic]) -> str | None:
    """The first reason to refuse, measured each second."""
    judge.begin_step(10)
    for second, seen in enumerate(map(Both, new, old), start=1):
        if (reason := judge.measure(seen, float(second), settling=second == 1)) is not None:
            return reason
    return None


def test_a_good_step_is_judged_and_told_with_its_figures() -> None:
    judge = CanaryJudge()
    assert measured(judge, [fast(10 * n) for n in range(1, 8)], [fast(90 * n) for n in range(1, 8)]) is None
    end = judge.end_step()
    assert end.judged
    assert str(end) == "10 %: 70 requests, 0 errors, p95 2 ms (old release: 630 requests, 0 errors, p95 2 ms)"
    assert judge.figures()["p95_ms"] == 2.0


def test_a_release_that_answers_nothing_is_slow() -> None:
    silent = [Traffic(10 * n, unanswered=10 * n) for n in range(1, 8)]
    reason = measured(CanaryJudge(), silent, [fast(90 * n) for n in range(1, 8)])
    assert reason is not None
    assert reason.startswith("it is slower: its median is at least 1 s, that of the old release at most 2.2 ms")


def test_when_both_answer_nothing_the_new_release_is_not_to_blame() -> None:
    new = [fast(10), *(fast(10 * n, unanswered=10 * (n - 1)) for n in range(2, 9))]
    old = [fast(90), *(fast(90 * n, unanswered=90 * (n - 1)) for n in range(2, 9))]
    assert measured(CanaryJudge(), new, old) is None


def test_a_step_with_too_few_answers_is_not_judged() -> None:
    judge = CanaryJudge()
    assert measured(judge, [fast(59), fast(59)], [fast(900), fast(900)]) is None
    assert not judge.end_step().judged
    judge = CanaryJudge()
    assert measured(judge, [fast(100, unanswered=41)], [fast(900, unanswered=3)]) is None
    end = judge.end_step()
    assert not end.judged
    assert str(end) == (
        "10 %: 100 requests, 0 errors, 41 not answered yet, p95 2 ms (old release: 900 requests, 0 errors, p95 2 ms)"
    )


def test_more_4xx_are_told_and_refuse_nothing() -> None:
    judge = CanaryJudge()
    judge.begin_step(5)
    for tick in range(1, 20):
        assert judge.tick(Both(Traffic(5 * tick, refused=5 * tick), Traffic(95 * tick))) is None
    assert judge.refuses_more
