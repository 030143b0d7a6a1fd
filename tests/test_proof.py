"""The order of the whole proof: stages, the second try, and when it is not gone on with."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from deployd.bringup.progress import Progress
from tests.__main__ import Stage, prove
from tests.tally import Tally

STAGES = (Stage("fast", 1, ("-m", "fast")), Stage("real", 1, ("-m", "real")))
FAILS = '<failure message="no" />'


class Pytest:
    """Answers each run with an exit code and the tests that it reports, in order."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self._answers = list(answers)
        self.asked: list[Sequence[str]] = []

    def __call__(self, options: Sequence[str]) -> int:
        report, *rest = options
        self.asked.append(rest)
        code, cases = self._answers.pop(0)
        told = "".join(
            f'<testcase classname="tests.test_x" name="{name}">{end}</testcase>' for name, end in cases.items()
        )
        Path(report.removeprefix("--junitxml=")).write_text(f"<testsuites><testsuite>{told}</testsuite></testsuites>")
        return code


def proof(run: Pytest, reports: Path) -> tuple[Tally, bool]:
    return prove(STAGES, run, reports, Progress(Console(file=io.StringIO())))


def test_every_stage_runs_once_when_all_is_well(tmp_path: Path) -> None:
    run = Pytest((0, {"test_a": ""}), (0, {"test_b": ""}))
    tally, proven = proof(run, tmp_path)
    assert proven
    assert len(tally.passed) == 2
    assert run.asked == [["-m", "fast"], ["-m", "real"]]


def test_a_failed_test_runs_once_more_alone_before_the_next_stage(tmp_path: Path) -> None:
    run = Pytest((1, {"test_a": FAILS, "test_c": ""}), (0, {"test_a": ""}), (0, {"test_b": ""}))
    tally, proven = proof(run, tmp_path)
    assert proven
    assert run.asked == [["-m", "fast"], ["tests/test_x.py::test_a"], ["-m", "real"]]
    assert [str(test) for test in tally.mended] == ["tests/test_x.py::test_a"]


def test_a_test_that_fails_twice_ends_the_proof(tmp_path: Path) -> None:
    run = Pytest((1, {"test_a": FAILS}), (1, {"test_a": FAILS}))
    tally, proven = proof(run, tmp_path)
    assert not proven
    assert [str(test) for test in tally.failed] == ["tests/test_x.py::test_a"]


@pytest.mark.parametrize(
    "answer", [(1, {f"test_{number}": FAILS for number in range(50)}), (2, {}), (3, {"test_a": ""}), (4, {})]
)
def test_many_failures_and_a_broken_run_are_no_chance(tmp_path: Path, answer: tuple[int, dict[str, str]]) -> None:
    _, proven = proof(Pytest(answer), tmp_path)
    assert not proven


def test_a_stage_of_which_nothing_was_asked_for_is_no_failure(tmp_path: Path) -> None:
    run = Pytest((5, {}), (0, {"test_b": ""}))
    assert proof(run, tmp_path)[1]
