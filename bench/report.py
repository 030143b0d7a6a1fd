"""The report of a bench: samples by round, ratios within each round, bars, and absent rivals.

A bench is a module `bench/<name>.py` with a docstring and `def run(quick: bool, report: Report) -> None`. In each round it calls
`report.sample(...)` for us and for every rival in turn (in the order of `interleaved`), and at the end `report.ratio` and
`report.bar`. Machines are noisy, so only samples of the same round are compared.
"""

import operator
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

_SIGNS = {"<": ("under", operator.lt), "<=": ("at most", operator.le), ">=": ("at least", operator.ge)}


@dataclass(frozen=True)
class Bar:
    """A promised limit and the measured value; `value` is None when it could not be measured."""

    name: str
    bar: str
    value: float | None
    holds: bool | None


@dataclass
class Report:
    """The figures of one bench. The samples of a figure are in the order of the rounds."""

    name: str
    title: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    absences: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """The number of rounds: the most samples of any figure."""
        return max(map(len, self.samples.values()), default=0)

    def sample(self, figure: str, value: float, unit: str) -> None:
        """Record one measurement of this round."""
        self.samples.setdefault(figure, []).append(float(value))
        self.units[figure] = unit

    def median(self, figure: str) -> float | None:
        """The median of a figure or of a ratio; None if there is none."""
        taken = self.samples.get(figure) or self.ratios.get(figure)
        return statistics.median(taken) if taken else None

    def ratio(self, name: str, over: str, under: str) -> None:
        """Compute the ratio of two figures in each round; nothing when one of them was not measured."""
        pairs = list(zip(self.samples.get(over, ()), self.samples.get(under, ()), strict=False))
        if pairs and all(below for _, below in pairs):
            self.ratios[name] = [above / below for above, below in pairs]

    def bar(self, name: str, sign: Literal["<", "<=", ">="], limit: float, figure: str, unit: str = "") -> None:
        """Compare the median of a figure or ratio with a limit."""
        value = self.median(figure)
        word, holding = _SIGNS[sign]
        holds = None if value is None else bool(holding(value, limit))
        self.bars.append(Bar(name, f"{word} {limit:g}{unit and ' '}{unit}", value, holds))

    def absent(self, rival: str, reason: str) -> None:
        """Record that a rival was not measured, and why."""
        self.absences[rival] = reason

    def withdraw(self, rival: str, reason: str) -> None:
        """Drop the samples of a rival that failed later: their rounds would no longer match those of the others."""
        for figure in [figure for figure in self.samples if figure.startswith(f"{rival}: ")]:
            del self.samples[figure]
        self.absent(rival, reason)

    def note(self, text: str) -> None:
        """Add a line below the tables."""
        self.notes.append(text)

    def as_json(self) -> dict[str, Any]:
        """The report for scripts."""
        return {
            "name": self.name,
            "rounds": self.rounds,
            "figures": {name: _spread(taken) | {"unit": self.units[name]} for name, taken in self.samples.items()},
            "ratios": {name: _spread(taken) for name, taken in self.ratios.items()},
            "bars": [vars(bar) for bar in self.bars],
            "absent": self.absences,
            "notes": self.notes,
        }

    def show(self, console: Console) -> None:
        """Print the report for people."""
        console.rule(f"[bold]{self.name}[/bold] {self.title} ({self.rounds} rounds)")
        if self.samples:
            rows = [[name, *_texts(taken), self.units[name]] for name, taken in self.samples.items()]
            console.print(_table(["figure", "median", "min", "max", "unit"], rows))
        if self.ratios:
            rows = [[name, *_texts(taken)] for name, taken in self.ratios.items()]
            console.print(_table(["ratio", "median", "min", "max"], rows))
        if self.bars:
            marks = {True: "[green]holds[/green]", False: "[red]does not hold[/red]", None: "not measured"}
            rows = [
                [bar.name, bar.bar, "-" if bar.value is None else _number(bar.value), marks[bar.holds]]
                for bar in self.bars
            ]
            console.print(_table(["bar", "wanted", "measured", ""], rows))
        for rival, reason in self.absences.items():
            console.print(f"absent: {rival}: {reason}", markup=False)
        for text in self.notes:
            console.print(text, markup=False)


def interleaved(rounds: int, contenders: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(round, contender) for every contender in every round; each round starts with another one."""
    names: Sequence[str] = list(contenders)
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            yield turn, name


def _spread(taken: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(taken), "min": min(taken), "max": max(taken)}


def _texts(taken: Sequence[float]) -> list[str]:
    return [_number(value) for value in _spread(taken).values()]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in (0, len(heads) - 1) else "right")
    for row in rows:
        table.add_row(*row)
    return table
