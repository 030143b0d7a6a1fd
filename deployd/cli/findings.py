"""How `deployd check` prints what it found."""

import dataclasses
import json
from collections.abc import Sequence

from rich.text import Text

from deployd.check.finding import Finding
from deployd.cli.output import out
from deployd.config.daemon import Config

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "red")}


def print_all(found: Sequence[Finding], *, as_json: bool) -> None:
    """Print a line for each finding, with its hint below."""
    if as_json:
        print(json.dumps({"findings": [dataclasses.asdict(finding) for finding in found]}, indent=2))
        return
    for finding in found:
        mark, colour = _MARKS[finding.verdict]
        out().print(Text(f"{mark} ", colour) + Text(f"{finding.what:<12} {finding.detail}"), soft_wrap=True)
        if finding.hint and finding.verdict != "ok":
            out().print(Text(f"    hint: {finding.hint}", "dim"), soft_wrap=True)


def print_schema() -> None:
    """Print the JSON Schema of config.toml, for editors."""
    print(json.dumps(Config.model_json_schema(), indent=2))
