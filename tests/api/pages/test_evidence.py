"""What the gates found, as tables of got beside expected."""

from deployd.api.pages.evidence import Figure, evidence
from deployd.domain import GateResult


def test_the_cases_of_golden_are_shown_as_expected_beside_got() -> None:
    rows = (
        {"case": 2, "path": "$.y", "got": 0, "expected": 0.5, "text": "$.y: 0, expected 0.5"},
        {"case": 7, "took_ms": 900.0, "text": "took 900 ms, at most 200 ms is allowed"},
    )
    figures = {"cases": 12, "wrong": 2, "slowest_ms": 900.0, "latency_ms": 200.0}
    found = evidence(GateResult("golden", "failed", "2 wrong", figures, rows))
    assert (found.verdict, found.moment) == ("failed", "before the switch")
    assert found.columns == ("case", "path", "expected", "got", "took")
    assert found.rows == (
        ("2", "$.y", "0.5", "0", ""),
        ("7", "", "took 900 ms, at most 200 ms is allowed", "", "900"),
    )
    assert found.figures == (
        Figure("cases", "12"),
        Figure("wrong", "2", "0"),
        Figure("slowest (ms)", "900", "at most 200"),
        Figure("latency (ms)", "200"),
    )


def test_the_metrics_of_evaluate_stand_beside_their_limits_and_those_of_the_live_release() -> None:
    figures = {
        "n": 300,
        "accuracy": 0.91234,
        "data": "sha256:1",
        "slices": {"north": {"n": 40, "accuracy": 0.9}},
        "live": {"accuracy": 0.95},
        "limits": {"accuracy": {"at_least": 0.9, "not_worse_than_live": 0.01}},
    }
    found = evidence(GateResult("evaluate", "passed", "", figures))
    assert found.figures == (
        Figure("n", "300"),
        Figure("accuracy", "0.9123", "at least 0.9, not worse than live 0.01", "0.95"),
        Figure("north.n", "40"),
        Figure("north.accuracy", "0.9"),
    )
    assert found.has_limits
    assert found.has_former


def test_the_share_of_compare_stands_beside_what_blocks() -> None:
    figures = {"n": 100, "share": 0.02, "warn": 0.01, "block": 0.1, "live": "iris/41"}
    found = evidence(GateResult("compare", "warned", "", figures, moment="canary"))
    assert Figure("share", "0.02", "at most 0.1") in found.figures
    assert Figure("live", "iris/41") in found.figures
    assert found.verdict == "passed with a warning"
    assert found.moment == "with a share of the traffic"


def test_a_gate_without_figures_and_rows_has_empty_tables() -> None:
    found = evidence(GateResult("ready", "passed", "ready after 1.2 s"))
    assert (found.figures, found.columns, found.rows) == ((), (), ())
    assert not found.has_limits
