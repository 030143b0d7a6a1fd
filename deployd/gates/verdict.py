"""The verdict of an app's own gate, from its exit code or its JSON. Pure."""

import json
from typing import Any

import msgspec
from msgspec import Struct, field

from deployd.domain import GateResult, Verdict
from deployd.logs.log import printable
from deployd.wording import plain

NOT_JUDGED = 77
"""The exit code with which a command says that it cannot judge, as the test runners of automake and meson have it."""

_LONGEST_DETAIL = 500
_LONGEST_FIGURES = 16 * 1024
_MOST_ROWS = 20


class _Said(Struct):
    verdict: Verdict
    detail: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def of_exit(name: str, code: int, stdout: str, stderr: str) -> GateResult:
    """The verdict of a command that ended with `code`, after what it printed.

    The last line of its standard output may be a verdict as JSON. With an exit code other than 0 and 77 it has failed whatever
    that says.
    """
    last = _last_line(stdout)
    said = of_json(name, last) if last.startswith("{") and '"verdict"' in last else None
    if code == 0:
        return said or GateResult(name, "passed", printable(last, _LONGEST_DETAIL))
    if code == NOT_JUDGED:
        return GateResult(name, "not_judged", said.detail if said else printable(_last_line(stderr) or last))
    how = f"exited with code {code}" if code < 128 else f"was ended by signal {code - 128}"
    if said is not None and said.verdict == "failed":
        return said
    why = f"it said {said.verdict}" if said is not None else _last_line(stderr) or last
    return GateResult(
        name,
        "failed",
        printable(f"{how}: {why}" if why else how, _LONGEST_DETAIL),
        figures=said.figures if said else {},
        rows=said.rows if said else (),
    )


def of_json(name: str, text: str) -> GateResult:
    """The verdict in a JSON object; failed when it is not a verdict."""
    try:
        said = msgspec.convert(json.loads(text), _Said)
    except (ValueError, RecursionError) as exc:
        why = plain(exc) if isinstance(exc, msgspec.ValidationError) else "it is not JSON"
        return GateResult(name, "failed", f"its verdict cannot be read: {why}: {printable(text, 200)}")
    if len(json.dumps([said.figures, said.rows])) > _LONGEST_FIGURES:
        detail = f"{said.detail} (its figures and rows are left out: they are longer than 16 KiB)".strip()
        return GateResult(name, said.verdict, printable(detail, _LONGEST_DETAIL))
    rows = tuple(said.rows[:_MOST_ROWS])
    return GateResult(name, said.verdict, printable(said.detail, _LONGEST_DETAIL), said.figures, rows)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
