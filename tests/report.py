"""What a run of the tests makes of its outcomes: with CI=true a skip is a failure, for nothing may be left unproven there.

Says of each test what it ran on, for the tally of the whole proof (`tests.tally`).
"""

import os
from collections.abc import Generator

import pytest

ON = ("cluster", "engine")
"""The marks that say what a test needs, the larger first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note what each test runs on, where the JUnit report has it."""
    for item in items:
        item.user_properties += [("on", mark) for mark in ON if item.get_closest_marker(mark)][:1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test of CI be skipped, whatever for."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome, report.longrepr = "failed", f"skipped, which CI must not: {reason(report)}"
    return report


def reason(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    told = report.longrepr
    return told[2].removeprefix("Skipped: ") if isinstance(told, tuple) else str(told)
