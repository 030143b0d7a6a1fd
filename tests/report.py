"""What a run of the tests makes of its outcomes: with CI=true a skip is a failure, for nothing may be left unproven there."""

import os
from collections.abc import Generator

import pytest


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
