"""What was found on each engine and each cluster: kept in a file for each table, shown as the tables of docs/hosts.md."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from tests.hosts.cluster_features import CLUSTER_FEATURES
from tests.hosts.features import FEATURES, Feature
from tests.tally import Tally

_HERE = Path(__file__).parent
PAGE = _HERE.parents[1] / "docs/hosts.md"
END = "<!-- to here -->\n"

Verdict = Literal["holds", "fails", "not here"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a feature's tests."""

    verdict: Verdict
    passed: int = 0
    failed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()  # why tests were skipped
    # The tests that fail for what `deployd check` tells, with its line.
    told: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.verdict == "fails":
            return f"**fails** ({len(self.failed)} of {self.passed + len(self.failed)})"
        told = f", {len(self.told)} told by check" if self.told else ""
        return f"holds ({self.passed}){told}" if self.verdict == "holds" else "not here"


@dataclass
class Found:
    """What was found on one engine or cluster, on `date`; the cells by the name of the feature."""

    title: str
    date: str
    cells: dict[str, Cell] = field(default_factory=dict)


def cell(tally: Tally, told: Mapping[str, str]) -> Cell:
    """The verdict on what ran: one failed test is a "fails", and nothing but skipped ones is "not here". `told`: the lines of
    `deployd check` for the tests that may fail."""
    names = sorted(str(test) for test in tally.failed)
    failed = tuple(name for name in names if name not in told)
    reasons = tuple(sorted(set(tally.skipped.values())))
    verdict: Verdict = "fails" if failed else "holds" if tally.passed or names else "not here"
    return Cell(verdict, len(tally.passed), failed, reasons, {name: told[name] for name in names if name in told})


@dataclass(frozen=True, slots=True)
class Table:
    """One of the tables of the page: its rows, and the file with what was found, by the name of the column."""

    name: str
    features: Sequence[Feature]
    path: Path

    @property
    def begin(self) -> str:
        """The line of the page before it."""
        return f"<!-- {self.name}: what follows is written by make test-hosts -->\n"

    def load(self) -> dict[str, Found]:
        """What was found before, with the columns in the order of the page."""
        if not self.path.exists():
            return {}
        found = msgspec.json.decode(self.path.read_bytes(), type=dict[str, Found])
        return {name: found[name] for name in sorted(found, key=lambda name: _by_numbers(found[name].title))}

    def save(self, found: Mapping[str, Found]) -> None:
        """Keep it."""
        self.path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")

    def shown(self) -> str:
        """What was found, as the page has it."""
        return table([*self.load().values()], [feature.name for feature in self.features])

    def write(self, page: Path = PAGE) -> None:
        """Put it into its place on the page."""
        before, rest = page.read_text().split(self.begin)
        _, after = rest.split(END, 1)
        page.write_text(f"{before}{self.begin}\n{self.shown()}\n{END}{after}")


ENGINES = Table("engines", FEATURES, _HERE / "found.json")
CLUSTERS = Table("clusters", CLUSTER_FEATURES, _HERE / "clusters.json")


def table(found: Sequence[Found], features: Sequence[str]) -> str:
    """The table in Markdown, and what is behind its cells that do not hold."""
    lines = ["| | " + " | ".join(one.title for one in found) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(str(one.cells.get(name, "not run")) for one in found) + " |" for name in features
    ]
    lines.append("| tried on | " + " | ".join(one.date for one in found) + " |")
    behind = [line for one in found for feature in features for line in _behind(one, feature)]
    return "\n".join([*lines, *([""] * bool(behind)), *behind]) + "\n"


def _behind(one: Found, feature: str) -> list[str]:
    shown = one.cells.get(feature)
    if shown is None:
        return []
    if shown.verdict == "holds":
        where = f"- {one.title.partition(',')[0]}, {feature}: told by check"
        by_line = {line: [test for test in shown.told if shown.told[test] == line] for line in shown.told.values()}
        return [f"{where}: {_short(tests)}: {line}" for line, tests in by_line.items()]
    told = _short(shown.failed) or "; ".join(shown.reasons)
    return [f"- {one.title.partition(',')[0]}, {feature}: {shown.verdict}: {told}"]


def _short(tests: Sequence[str]) -> str:
    return ", ".join(f"`{test.rpartition('::')[2]}`" for test in tests)


def _by_numbers(title: str) -> list[str | int]:
    """1.9 comes before 1.20."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", title)]
