"""The plots of an app's page as tables: durations of deploys, metrics of models, traffic. Pure.

A plot is drawn from its table by static/plots.js, so a person without JavaScript or without sight has all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from deployd.api.differences import flat
from deployd.api.pages.words import TONES, lasted, took, value
from deployd.api.states import PointAnswer, SwitchAnswer
from deployd.domain import Deploy
from deployd.status import Status

_MOST_METRICS = 6
_OWN_FIGURES = frozenset({"n", "data", "live", "limits", "slices"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: `y` for the plot, None where there is none; `told` for a person."""

    y: float | None
    told: str


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one release, or of one moment. `x`: seconds since 1970 where the rows are moments."""

    name: str
    cells: Sequence[Cell]
    x: int | None = None
    tone: str = ""
    link: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot with its table. `kind`: bars in the tone of their row, or a line for each column; `unit`: of the values;
    `of`: what the first column names; `marks`: moments with a name."""

    id: str
    title: str
    kind: Literal["bars", "lines"]
    of: str
    columns: Sequence[str]
    rows: Sequence[Row]
    unit: str = ""
    marks: Sequence[tuple[int, str]] = field(default_factory=tuple)

    @property
    def summary(self) -> str:
        """The plot in a sentence, for people who cannot see it."""
        found = [f"{name} {span}" for at, name in enumerate(self.columns) if (span := self._span(at))]
        return f"{self.title}, {len(self.rows)} {self.of.lower()}s: {'; '.join(found) or 'no values'}"

    def _span(self, column: int) -> str:
        known = [cell for row in self.rows if (cell := row.cells[column]).y is not None]
        if not known:
            return ""
        least, most = (pick(known, key=lambda cell: cell.y or 0.0) for pick in (min, max))
        return f"{least.told} to {most.told}, last {known[-1].told}"


def durations(deploys: Sequence[Deploy], now: datetime) -> Plot | None:
    """How long the deploys took until they were live or ended; the newest is first in `deploys`, last in the plot."""
    begun = [deploy for deploy in reversed(deploys) if deploy.started_at is not None]
    rows = []
    for deploy in begun:
        length = (took(deploy, now) or timedelta()).total_seconds()
        tone = "ok" if deploy.status is Status.RETIRED else TONES.get(deploy.status, "idle")
        rows.append(
            Row(
                f"#{deploy.number}",
                [Cell(round(length, 2), lasted(length))],
                tone=tone,
                link=f"/apps/{deploy.app}/deploys/{deploy.number}",
                said=deploy.status.replace("_", " "),
            )
        )
    return Plot("durations", "How long deploys took", "bars", "Deploy", ("took",), rows, "s") if rows else None


def metrics(released: Sequence[Deploy]) -> list[Plot]:
    """The metrics of the releases' models; `released` has the newest first. Shares, which lie between 0 and 1, are in one plot,
    each other metric has its own."""
    releases = [deploy for deploy in reversed(released) if not deploy.prove]
    measured = [dict(measured_of(deploy)) for deploy in releases]
    names = list(dict.fromkeys(name for one in reversed(measured) for name in one))[:_MOST_METRICS]
    shares = [name for name in names if all(0 <= one[name] <= 1 for one in measured if name in one)]
    groups = [shares] * bool(shares) + [[name] for name in names if name not in shares]
    found = []
    for at, group in enumerate(groups):
        rows = [
            Row(
                f"#{deploy.number}",
                [Cell(one.get(name), value(one.get(name))) for name in group],
                link=f"/apps/{deploy.app}/deploys/{deploy.number}",
            )
            for deploy, one in zip(releases, measured, strict=True)
            if any(name in one for name in group)
        ]
        title = "Measured of each release's model" if group is shares else f"{group[0]} of each release"
        found.append(Plot(f"metrics-{at}", title, "lines", "Release", group, rows))
    return found


def measured_of(deploy: Deploy) -> Iterator[tuple[str, float]]:
    """The metrics of a release's model: from its `evaluate` gate, else from its manifest."""
    figures = next((gate.figures for gate in deploy.gates if gate.name == "evaluate" and gate.moment == "before"), {})
    evaluated = {name: one for name, one in figures.items() if name not in _OWN_FIGURES and _is_number(one)}
    yield from evaluated.items()
    for path, one in flat("", _metrics_of(deploy.model)):
        if path not in evaluated and _is_number(one):
            yield path, one


def traffic(points: Sequence[PointAnswer], switches: Sequence[SwitchAnswer]) -> list[Plot]:
    """Requests, errors and durations over time, with the switches marked."""
    marks = [(int(switch.at.timestamp()), f"#{switch.number}") for switch in switches]
    drawn = (
        ("requests", "Requests per second", "", [("requests", _rate)]),
        ("errors", "Requests that went wrong", "%", [("went wrong", _share)]),
        ("latency", "How long answers took", "ms", [("median", _median), ("95th percentile", _p95)]),
    )
    return [
        Plot(
            name,
            title,
            "lines",
            "Moment",
            tuple(column for column, _ in columns),
            [Row(_moment(point.at), [of(point) for _, of in columns], int(point.at.timestamp())) for point in points],
            unit,
            marks,
        )
        for name, title, unit, columns in drawn
    ]


def _rate(point: PointAnswer) -> Cell:
    rate = point.requests_per_second
    return Cell(rate, per_second(rate) if rate is not None else "not counted")


def _share(point: PointAnswer) -> Cell:
    if point.requests is None:
        return Cell(None, "not counted")
    if point.error_rate is None:
        return Cell(None, "no requests")
    return Cell(round(100 * point.error_rate, 3), percent(point.error_rate))


def _median(point: PointAnswer) -> Cell:
    return _milliseconds(point.p50_ms)


def _p95(point: PointAnswer) -> Cell:
    return _milliseconds(point.p95_ms)


def _milliseconds(found: float | None) -> Cell:
    return Cell(found, milliseconds(found))


def milliseconds(found: float | None) -> str:
    """`0.8 ms`, `12 ms`, `1.5 s`."""
    if found is None:
        return "–"
    return f"{found:.3g} ms" if found < 1000 else f"{found / 1000:.3g} s"


def per_second(rate: float) -> str:
    """`0/s`, `0.3/s`, `12/s`, `12,345/s`."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def percent(share: float | None) -> str:
    """`0 %`, `0.02 %`, `12 %`."""
    return "–" if share is None else f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _moment(at: datetime) -> str:
    said = f"{at.astimezone(UTC):%d %b %H:%M:%S}"
    return said.removesuffix(":00")


def _metrics_of(model: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = model.get("model")
    found = model.get("metrics") or (inner.get("metrics") if isinstance(inner, Mapping) else None)
    return found if isinstance(found, Mapping) else {}


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool)
