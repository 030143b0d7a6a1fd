"""`python -m bench NAME [--quick] [--json FILE]`: runs one bench, or `all`.

The exit code is 0 whatever the figures are, 1 when a bench itself fails, 2 for an unknown name.
"""

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.report import Report

NAMES = (
    "swap",
    "supersede",
    "overhead",
    "webhooks",
    "history",
    "rollout",
    "rollback",
    "gates",
    "canary",
    "serving",
    "pages",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures the figures of docs/what-it-costs.md."
    )
    parser.add_argument("name", choices=[*NAMES, "all"], help="which bench")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    end_in_order()
    console = Console(width=None if sys.stdout.isatty() else 160)
    reports = [_run(name, options.quick, console) for name in (NAMES if options.name == "all" else [options.name])]
    if options.json is not None:
        written = [report.as_json() for report in reports]
        options.json.write_text(json.dumps(written if options.name == "all" else written[0], indent=1) + "\n")
    return 0


def end_in_order() -> None:
    """Make SIGTERM and SIGHUP do what Ctrl-C does: a bench removes its daemons and containers before it ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT by default
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))


def _run(name: str, quick: bool, console: Console) -> Report:
    module = importlib.import_module(f"bench.{name}")
    report = Report(name, title=(module.__doc__ or "").strip().partition("\n")[0])
    module.run(quick, report)
    report.show(console)
    return report


if __name__ == "__main__":
    sys.exit(main())
