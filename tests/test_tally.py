import io
from pathlib import Path

import pytest
from rich.console import Console

from tests import report
from tests.tally import Tally

pytest_plugins = ["pytester"]

TESTS = """
import pytest

def test_alone():
    pass

@pytest.mark.parametrize("text", ["a@b", "c d"])
@pytest.mark.engine
def test_with_an_engine(text):
    pass

@pytest.mark.engine
@pytest.mark.cluster
def test_with_both():
    pass

@pytest.mark.cluster
def test_without_a_cluster():
    pytest.skip("no cluster is named")

def test_now_and_then():
    assert GOOD

@pytest.fixture
def thing():
    yield
    assert GOOD

def test_that_leaves_something_behind(thing):
    pass
"""


@pytest.fixture
def tally(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Tally:
    """Of two runs: in the first, two tests fail, which then run once more and pass."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini("[pytest]\nmarkers =\n engine\n cluster\n")
    place = pytester.mkpydir("tests") / "faults"
    place.mkdir()
    made = Tally()
    for good, names in ((False, []), (True, ["test_now_and_then", "test_that_leaves_something_behind"])):
        (place / "test_some.py").write_text(f"{TESTS}\nGOOD = {good}\n")
        chosen = [f"tests/faults/test_some.py::{name}" for name in names]
        pytester.runpytest_inprocess("-p", "no:asyncio", "--junitxml=report.xml", *chosen, plugins=[report])
        made.add(Path("report.xml"))
    return made


@pytest.mark.slow
def test_each_test_counts_once_as_it_ended_and_the_summary_names_what_is_not_proven(tally: Tally) -> None:
    module = "tests/faults/test_some.py"
    mended = {f"{module}::test_now_and_then", f"{module}::test_that_leaves_something_behind"}
    assert {str(test) for test in tally.mended} == mended
    assert {str(test) for test in tally.passed} == mended | {
        f"{module}::test_alone",
        f"{module}::test_with_an_engine[a@b]",
        f"{module}::test_with_an_engine[c d]",
        f"{module}::test_with_both",
    }
    assert {str(test): why for test, why in tally.skipped.items()} == {
        f"{module}::test_without_a_cluster": "no cluster is named"
    }
    assert tally.failed == set()
    out = io.StringIO()
    tally.show(Console(file=out, width=100))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines[:3] == [
        "What was proven on its own on a real engine on a real cluster",
        "faults 3 2 1",
        "all 3 2 1",
    ]
    assert lines[3:] == [
        "Passed only when they ran once more (2):",
        "tests/faults/test_some.py::test_now_and_then",
        "tests/faults/test_some.py::test_that_leaves_something_behind",
        "Not proven: no cluster is named (1):",
        "tests/faults/test_some.py::test_without_a_cluster",
        "6 passed, 0 failed, 1 skipped",
    ]


def test_a_test_of_a_group_goes_by_its_own_name(tmp_path: Path) -> None:
    case = '<testcase classname="tests.test_x" name="test_it[a@b]@faults"><failure message="no" /></testcase>'
    (tmp_path / "report.xml").write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
    tally = Tally()
    tally.add(tmp_path / "report.xml")
    assert [str(test) for test in tally.failed] == ["tests/test_x.py::test_it[a@b]"]
