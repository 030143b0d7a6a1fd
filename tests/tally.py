"""What several runs of the tests proved, read from their JUnit reports: by area and by what the tests ran on.

A test that a later run repeats counts as it ended there; that it failed before is told all the same.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

from tests.report import ON

_TOP = "everything else"
_GROUP = re.compile(r"@[^]]*$")  # what pytest-xdist adds to the name of a test that stays in a group


@dataclass(frozen=True, slots=True)
class Test:
    """One test, as its report names it."""

    module: str
    name: str
    on: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Its name for pytest."""
        return f"{self.module.replace('.', '/')}.py::{self.name}"

    @property
    def area(self) -> str:
        """The directory below tests/ that it lies in."""
        return "/".join(self.module.split(".")[1:-1]) or _TOP


@dataclass
class Tally:
    """The tests that ran, by their end. `mended` are those that passed only when they ran once more."""

    passed: set[Test] = field(default_factory=set)
    failed: set[Test] = field(default_factory=set)
    skipped: dict[Test, str] = field(default_factory=dict)
    mended: set[Test] = field(default_factory=set)

    def add(self, report: Path) -> None:
        """Take in what a run has reported."""
        failed_before = set(self.failed)
        for test, end, reason in _cases(report):
            self.passed.discard(test)
            self.skipped.pop(test, None)
            if end == "failed":
                self.failed.add(test)
            elif end == "skipped":
                self.skipped[test] = reason
            else:
                self.passed.add(test)
                self.failed.discard(test)
        self.mended |= failed_before & self.passed

    def show(self, console: Console) -> None:
        """The summary for a person; its last line is one that a machine can read too."""
        console.print(self._table())
        self._list(console, "Passed only when they ran once more", {str(test) for test in self.mended})
        for reason, tests in sorted(self._unproven().items()):
            self._list(console, f"Not proven: {reason}", tests)
        self._list(console, "Failed", {str(test) for test in self.failed})
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"
        console.print(counts, highlight=False)

    def _table(self) -> Table:
        counts = Counter((test.area, test.on) for test in self.passed)
        table = Table("What was proven", "on its own", *(f"on a real {mark}" for mark in reversed(ON)), box=None)
        for area in sorted({area for area, _ in counts}, key=lambda area: (area == _TOP, area)):
            table.add_row(area, *(str(counts[area, on] or "") for on in ("", *reversed(ON))))
        sums = Counter(test.on for test in self.passed)
        table.add_row("all", *(str(sums[on]) for on in ("", *reversed(ON))), style="bold")
        return table

    def _unproven(self) -> dict[str, set[str]]:
        by_reason: dict[str, set[str]] = defaultdict(set)
        for test, reason in self.skipped.items():
            by_reason[reason].add(str(test))
        return by_reason

    @staticmethod
    def _list(console: Console, title: str, tests: set[str]) -> None:
        if tests:
            console.print(f"{title} ({len(tests)}):", markup=False, highlight=False)
            console.print(
                *(f"  {test}" for test in sorted(tests)), sep="\n", markup=False, highlight=False, soft_wrap=True
            )


def _cases(report: Path) -> Iterator[tuple[Test, str, str]]:
    """Each test once: what fails in its teardown stands there twice."""
    ends: dict[Test, tuple[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        on = {entry.get("name"): entry.get("value", "") for entry in case.iter("property")}.get("on", "")
        test = Test(case.get("classname", ""), _GROUP.sub("", case.get("name", "")), on)
        if case.find("failure") is not None or case.find("error") is not None:
            ends[test] = ("failed", "")
        elif (skip := case.find("skipped")) is not None:
            ends.setdefault(test, ("skipped", skip.get("message", "")))
        else:
            ends.setdefault(test, ("passed", ""))
    for test, (end, reason) in ends.items():
        yield test, end, reason
