import pytest

from tests import report

pytest_plugins = ["pytester"]

SKIPPED = """
import pytest

@pytest.mark.skipif(True, reason="needs git-lfs")
def test_by_its_mark():
    pass

def test_in_its_body():
    pytest.skip("no engine answers")

@pytest.fixture(scope="session")
def engine():
    pytest.skip("no engine answers")

def test_by_its_fixture(engine):
    pass
"""


@pytest.mark.parametrize(("ci", "outcomes"), [("", {"skipped": 3}), ("true", {"failed": 1, "errors": 2})])
@pytest.mark.slow
def test_with_ci_a_skip_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcomes: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(SKIPPED)
    result = pytester.runpytest_inprocess("-rfEs", "-p", "no:asyncio", plugins=[report])
    assert result.parseoutcomes() == outcomes
    result.stdout.fnmatch_lines(["*needs git-lfs*", "*no engine answers*"])
