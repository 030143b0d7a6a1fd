"""The results of the gates as tables of measured figures and their limits. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.api.differences import flat
from deployd.api.pages.words import value
from deployd.domain import GateResult, Moment

MOMENTS: Mapping[Moment, str] = {
    "before": "before the switch",
    "canary": "with a share of the traffic",
    "after": "after the switch",
}
VERDICTS = {"passed": "passed", "warned": "passed with a warning", "failed": "failed", "not_judged": "not judged"}
_FIRST = ("case", "name", "request", "row", "path", "expected", "got")
_HEADINGS = {"text": "what is wrong", "took_ms": "took", "more": "further differences"}
_SECRETIVE = frozenset({"data"})  # a digest, which tells a person nothing
_APART = frozenset({"limits", "live", "slices"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: its value, its limit, and the live release's value."""

    what: str
    got: str
    wanted: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One gate: its verdict, the figures, and the cases that differ, as columns and rows."""

    gate: GateResult
    verdict: str
    moment: str
    figures: tuple[Figure, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def has_limits(self) -> bool:
        """Whether any figure has a limit."""
        return any(figure.wanted for figure in self.figures)

    @property
    def has_former(self) -> bool:
        """Whether any figure of the live release is known."""
        return any(figure.before for figure in self.figures)


def evidence(gate: GateResult) -> Evidence:
    """The evidence of one gate."""
    keys = dict.fromkeys(key for row in gate.rows for key in row)
    columns = [key for key in _FIRST if key in keys] + [key for key in keys if key not in _FIRST]
    if "expected" in keys:
        columns = [key for key in columns if key != "text"]  # it says the same in a sentence
    return Evidence(
        gate,
        VERDICTS[gate.verdict],
        MOMENTS[gate.moment],
        tuple(_figures(gate.figures)),
        tuple(_HEADINGS.get(key, key.replace("_", " ")) for key in columns),
        tuple(tuple(_cell(row, key) for key in columns) for row in gate.rows),
    )


def _cell(row: Mapping[str, Any], key: str) -> str:
    if key == "expected" and key not in row:
        return str(row.get("text", ""))  # what is wrong with this one is no other value
    return value(row[key]) if key in row else ""


def _figures(figures: Mapping[str, Any]) -> Iterator[Figure]:
    limits, live = (figures.get(name) for name in ("limits", "live"))
    of_live: Mapping[str, Any] = live if isinstance(live, Mapping) else {}
    for name, got in figures.items():
        if name in _SECRETIVE or (name in _APART and isinstance(got, Mapping)):
            continue
        for path, one in flat(name, got):
            before = value(of_live[name]) if name in of_live else ""
            yield Figure(_named(path), value(one), _wanted(name, limits, figures), before)
    slices = figures.get("slices")
    for path, one in flat("", slices if isinstance(slices, Mapping) else {}):
        yield Figure(_named(path), value(one))


def _wanted(name: str, limits: Any, figures: Mapping[str, Any]) -> str:
    """The limit of a figure, if the gate's own figures contain it."""
    own = limits.get(name) if isinstance(limits, Mapping) else None
    if isinstance(own, Mapping):
        return ", ".join(f"{_named(kind)} {value(limit)}" for kind, limit in own.items())
    match name:
        case "wrong" | "failed":
            return "0"
        case "slowest_ms" if "latency_ms" in figures:
            return f"at most {value(figures['latency_ms'])}"
        case "share" if "block" in figures:
            return f"at most {value(figures['block'])}"
        case "highest" if "at_most" in figures:
            return f"at most {value(figures['at_most'])}"
    return ""


def _named(path: str) -> str:
    """A figure's name in words, followed by its unit."""
    plain = path.replace("_", " ")
    return f"{plain.removesuffix(' ms')} (ms)" if plain.endswith(" ms") else plain
