"""`python -m tests.hosts [COLUMN ...]`: run the features on engines and a cluster, and write what was found into docs/hosts.md.

One at a time: each engine is brought up, and ended afterwards unless it ran before. The cluster keeps running. What fails runs
once more, since the machine may have been busy. The exit code is 1 when a feature fails where it must hold.
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
from tests.hosts.features import Feature
from tests.hosts.matrix import Cell, Found
from tests.tally import Tally
from tests.testbed import engines


def main() -> int:
    """Run what the command line names, all by default."""
    names = [column.name for column in COLUMNS]
    words = "Try deployd on several engines and on a cluster."
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=words)
    parser.add_argument("columns", nargs="*", metavar="COLUMN", help=f"some of {', '.join(names)} (default: all)")
    parser.add_argument("--feature", default="", help="only the features with this in their name")
    asked = parser.parse_args()
    if unknown := set(asked.columns) - set(names):
        parser.error(f"no such column: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    columns = [column for column in COLUMNS if column.name in (asked.columns or names)]
    if not any(_chosen(column, asked.feature) for column in columns):
        parser.error(f"no feature has {asked.feature!r} in its name")
    return _run(columns, asked.feature, Progress())


def _chosen(column: Column, words: str) -> list[Feature]:
    return [feature for feature in column.table.features if words.lower() in feature.name.lower()]


def _run(columns: Sequence[Column], words: str, progress: Progress) -> int:
    broken = False
    for column in columns:
        ran = engines.runs(column.engine)
        try:
            host = column.bring_up(progress)
        except Unavailable as exc:
            progress.say(f"{column.name}: not here: {exc.message} ({exc.hint})")
            continue
        broken |= _fill(column, host, _chosen(column, words), progress)
        if column.engine and not ran:
            engines.stop(column.engine)
        print(column.table.shown())
    return int(broken)


def _fill(column: Column, host: Host, features: Sequence[Feature], progress: Progress) -> bool:
    """Run them one after the other, and keep what each showed; whether one fails."""
    table, name = column.table, host.minor or column.name
    before = table.load().get(name)
    found = Found(host.title, datetime.now(UTC).date().isoformat(), before.cells if before else {})
    for feature in features:
        found.cells[feature.name] = shown = _cell(column, host, feature)
        progress.say(f"{host.title}: {feature.name}: {shown}")
        table.save({**table.load(), name: found})
        table.write()
    return any(found.cells[feature.name].verdict == "fails" for feature in features)


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
    return matrix.cell(tally, column.told)


if __name__ == "__main__":
    sys.exit(main())
