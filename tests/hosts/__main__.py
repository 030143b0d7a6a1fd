"""`python -m tests.hosts [COLUMN ...]`: run the features on each engine, and write what was found into docs/hosts.md.

One engine at a time: each is brought up, and ended afterwards unless it ran before. What fails runs once more, since the machine
may have been busy. The exit code is 1 when a feature fails on an engine on which it must hold.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.hosts import matrix
from tests.hosts.columns import COLUMNS, Column, Host
from tests.hosts.features import FEATURES, Feature
from tests.hosts.matrix import Cell, Found
from tests.tally import Tally
from tests.testbed import engines


def main() -> int:
    """Run what the command line names, all by default."""
    names = [column.name for column in COLUMNS]
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description="Try deployd on several engines.")
    parser.add_argument("columns", nargs="*", metavar="COLUMN", help=f"an engine: {', '.join(names)} (default: all)")
    parser.add_argument("--feature", default="", help="only the features with this in their name")
    asked = parser.parse_args()
    if unknown := set(asked.columns) - set(names):
        parser.error(f"no such column: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    columns = [column for column in COLUMNS if column.name in (asked.columns or names)]
    features = [feature for feature in FEATURES if asked.feature.lower() in feature.name.lower()]
    return _run(columns, features, Progress())


def _run(columns: Sequence[Column], features: Sequence[Feature], progress: Progress) -> int:
    found = matrix.load()
    broken = False
    for column in columns:
        ran = engines.runs(column.engine)
        try:
            host = column.bring_up(progress)
        except Unavailable as exc:
            progress.say(f"{column.name}: not here: {exc.message} ({exc.hint})")
            continue
        before = found.get(column.name)
        one = Found(host.title, datetime.now(UTC).date().isoformat(), before.cells if before else {})
        found[column.name] = one
        for feature in features:
            one.cells[feature.name] = shown = _cell(column, host, feature)
            progress.say(f"{host.title}: {feature.name}: {shown}")
            broken |= column.must_hold and shown.verdict == "fails"
            matrix.save(found)
        if column.engine and not ran:
            engines.stop(column.engine)
    text = matrix.shown(found)
    matrix.write_page(text)
    print(text)
    return int(broken)


def _cell(column: Column, host: Host, feature: Feature) -> Cell:
    if feature in column.not_here:
        return Cell("not here", reasons=(column.not_here[feature],))
    tally = Tally()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.xml")
        for options in (feature.options, None):
            again = sorted(str(test) for test in tally.failed)
            if options is None and not again:
                break
            host.pytest([f"--junitxml={report}", *(options or again)])
            tally.add(report)
    return matrix.cell(tally)


if __name__ == "__main__":
    sys.exit(main())
