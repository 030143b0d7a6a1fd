"""What was found on each engine: kept in found.json, shown as the table of docs/hosts.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from tests.hosts.columns import COLUMNS
from tests.hosts.features import FEATURES
from tests.tally import Tally

FOUND = Path(__file__).with_name("found.json")
PAGE = Path(__file__).parents[2] / "docs/hosts.md"
BEGIN, END = "<!-- what follows is written by make test-hosts -->\n", "<!-- to here -->\n"

Verdict = Literal["holds", "fails", "not here"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a feature's tests on an engine."""

    verdict: Verdict
    passed: int = 0
    failed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()  # why tests were skipped

    def __str__(self) -> str:
        if self.verdict == "fails":
            return f"**fails** ({len(self.failed)} of {self.passed + len(self.failed)})"
        return f"holds ({self.passed})" if self.verdict == "holds" else "not here"


@dataclass
class Found:
    """What was found on one engine, on `date`; the cells by the name of the feature."""

    title: str
    date: str
    cells: dict[str, Cell] = field(default_factory=dict)


def cell(tally: Tally) -> Cell:
    """The verdict on what ran: one failed test is a "fails", and nothing but skipped ones is "not here"."""
    failed = tuple(sorted(str(test) for test in tally.failed))
    reasons = tuple(sorted(set(tally.skipped.values())))
    verdict: Verdict = "fails" if failed else "holds" if tally.passed else "not here"
    return Cell(verdict, len(tally.passed), failed, reasons)


def load(path: Path = FOUND) -> dict[str, Found]:
    """What was found before, by the name of the column."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Found]) if path.exists() else {}


def save(found: dict[str, Found], path: Path = FOUND) -> None:
    """Keep it."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def table(found: Sequence[Found], features: Sequence[str]) -> str:
    """The table in Markdown, and what is behind its cells that do not hold."""
    lines = ["| | " + " | ".join(one.title for one in found) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(str(one.cells.get(name, "not run")) for one in found) + " |" for name in features
    ]
    lines.append("| tried on | " + " | ".join(one.date for one in found) + " |")
    behind = [line for one in found for feature in features for line in _behind(one, feature)]
    return "\n".join([*lines, *([""] * bool(behind)), *behind]) + "\n"


def shown(found: Mapping[str, Found]) -> str:
    """What was found, as the page has it."""
    return table([found[column.name] for column in COLUMNS if column.name in found], [one.name for one in FEATURES])


def write_page(text: str, page: Path = PAGE) -> None:
    """Put the table into its place on the page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def _behind(one: Found, feature: str) -> list[str]:
    shown = one.cells.get(feature)
    if shown is None or shown.verdict == "holds":
        return []
    told = ", ".join(f"`{name.rpartition('::')[2]}`" for name in shown.failed) or "; ".join(shown.reasons)
    return [f"- {one.title.partition(',')[0]}, {feature}: {shown.verdict}: {told}"]
