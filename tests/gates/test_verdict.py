"""What a gate's exit code, and its verdict as JSON, mean."""

import json

import pytest

from deployd.domain import GateResult
from deployd.gates.verdict import NOT_JUDGED, of_exit, of_json

NAN = '{"verdict": "failed", "figures": {"loss": NaN}}'


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "verdict", "detail"),
    [
        (0, "", "", "passed", ""),
        (0, "one\n300 rows, all fair\n\n", "a warning", "passed", "300 rows, all fair"),
        (0, '{"verdict": "warned", "detail": "slow"}', "", "warned", "slow"),
        (0, '{"verdict": "failed", "detail": "slow"}', "", "failed", "slow"),
        (0, '{"rows": 300}', "", "passed", '{"rows": 300}'),
        (0, NAN, "", "failed", ""),
        (1, "asked 3 rows", "", "failed", "exited with code 1: asked 3 rows"),
        (1, "asked 3 rows", "no such row", "failed", "exited with code 1: no such row"),
        (3, "", "", "failed", "exited with code 3"),
        (
            137,
            "",
            "killed: it used 30 MiB of memory",
            "failed",
            "was ended by signal 9: killed: it used 30 MiB of memory",
        ),
        (1, '{"verdict": "failed", "detail": "unfair"}', "x", "failed", "unfair"),
        (1, '{"verdict": "passed"}', "", "failed", "exited with code 1: it said passed"),
        (NOT_JUDGED, "only 3 rows", "", "not_judged", "only 3 rows"),
        (NOT_JUDGED, '{"verdict": "passed", "detail": "3 rows"}', "", "not_judged", "3 rows"),
    ],
)
def test_an_exit_code_and_the_last_line_give_the_verdict(
    code: int, stdout: str, stderr: str, verdict: str, detail: str
) -> None:
    found = of_exit("fairness", code, stdout, stderr)
    assert (found.name, found.verdict, found.detail) == ("fairness", verdict, detail)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"verdict": "maybe"}', "invalid enum value 'maybe'"),
        ('{"verdict": "passed", ', "it is not JSON"),
        ('{"verdict": "passed", "figures": 3}', "expected object, got int"),
        ('["verdict"]', "expected object, got array"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_a_verdict_that_cannot_be_read_has_failed_and_says_why(text: str, why: str) -> None:
    found = of_json("fairness", text)
    assert found.verdict == "failed"
    assert found.detail.startswith("its verdict cannot be read: ")
    assert why in found.detail


def test_an_unreadable_verdict_in_the_last_line_fails_though_the_command_ended_well() -> None:
    assert of_exit("fairness", 0, 'done\n{"verdict": "faild"}\n', "").verdict == "failed"


def test_figures_and_rows_are_taken_over_and_bounded() -> None:
    rows = [{"row": number} for number in range(30)]
    said = {"verdict": "passed", "detail": "fair", "figures": {"gap": 0.01, "n": 300}, "rows": rows}
    assert of_json("fairness", json.dumps(said)) == GateResult(
        "fairness", "passed", "fair", {"gap": 0.01, "n": 300}, tuple(rows[:20])
    )
    large = of_json("fairness", json.dumps({**said, "figures": {"x": "y" * 20_000}}))
    assert (large.verdict, large.figures, large.rows) == ("passed", {}, ())
    assert "longer than 16 KiB" in large.detail


def test_a_detail_is_one_line_of_bounded_length() -> None:
    found = of_json("fairness", json.dumps({"verdict": "passed", "detail": "a\nb" + "c" * 1000}))
    assert "\n" not in found.detail
    assert len(found.detail) < 510
