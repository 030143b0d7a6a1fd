"""What docs/monitoring/ asks of Prometheus: its queries, and the metrics and labels that they name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parents[2] / "docs" / "monitoring"
ALERTS = DIRECTORY / "alerts.yml"
DASHBOARD = DIRECTORY / "dashboard.json"

_WORDS = frozenset({"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"})
_VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h", "$app": ".*", "$figure": ".*"}


def alerts() -> list[dict[str, Any]]:
    """Every rule of alerts.yml."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Every query of the alerts and of the dashboard, as Grafana would send it."""
    yield from (rule["expr"] for rule in alerts())
    board = dashboard()
    for text in [
        *(target["expr"] for panel in panels() for target in panel["targets"]),
        *(annotation["expr"] for annotation in board["annotations"]["list"]),
        *(
            _labelled(variable["query"]["query"])
            for variable in board["templating"]["list"]
            if "definition" in variable
        ),
    ]:
        yield filled(text)


def filled(text: str) -> str:
    """A query with the variables of Grafana filled in."""
    for name, value in _VARIABLES.items():
        text = text.replace(name, value)
    return text


def metrics_of(query: str) -> dict[str, set[str]]:
    """The metrics that a query names, each with the labels that it is matched by."""
    found: dict[str, set[str]] = {}
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", query)
    for name, matchers in re.findall(r"\b([a-zA-Z_:][\w:]*)\b\s*(\{[^}]*\})?(?!\s*\()", _without_strings(bare)):
        if name not in _WORDS:
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    return found


def _without_strings(query: str) -> str:
    """The query without what stands in quotes, and without durations and numbers, which hold letters, too."""
    return re.sub(r"\[[^]]*\]|\b\d[\w.]*", " ", re.sub(r'"[^"]*"', '""', query))


def _labelled(text: str) -> str:
    """The selector in `label_values(selector, label)`."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
    assert match is not None, text
    return f"count by ({match[2]}) ({match[1]})"
