"""`python -m tests [PYTEST OPTIONS]`: the whole proof. Says what it will do, does it, and says what was proven.

First the tests that need no engine, on all cores; then the rest, more of them side by side, since much of it waits. What fails
runs once more, alone: the machine may have been busy. That is told at the end.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console

from deployd.bringup.progress import Progress
from tests.tally import Tally
from tests.testbed.__main__ import PARTS, bring_up
from tests.testbed.plan import Task, tasks

FAST = "not engine and not cluster and not slow"
_SOME_FAILED, _NONE_COLLECTED = 1, 5  # pytest's exit codes
_MANY = 30  # so many do not fail by chance
_WORKERS = (os.cpu_count() or 1) + 1  # some tests wait


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of pytest."""

    name: str
    seconds: int
    options: tuple[str, ...]


STAGES = (
    Stage("the tests that need no engine", 90, ("-m", FAST, f"--numprocesses={_WORKERS}", "--dist=worksteal")),
    Stage(
        "the tests on real engines and clusters, and the slow ones",
        1_050,
        ("-m", f"not ({FAST})", "--numprocesses=6", "--dist=loadgroup", "--no-loadscope-reorder"),
    ),
)

Run = Callable[[Sequence[str]], int]


def main() -> int:
    """The exit code is 0 when every test passed, if need be at its second try."""
    console, progress = Console(), Progress()
    ahead = [*tasks(), *(Task(stage.name, stage.seconds) for stage in STAGES)]
    minutes = round(sum(task.seconds for task in ahead) / 60)
    console.print(f"The whole proof, about {minutes} minutes on two free cores:", highlight=False)
    console.print(*(f"  {task}" for task in ahead), sep="\n", highlight=False, soft_wrap=True)
    began = monotonic()
    bring_up(PARTS, progress, PARTS)
    with tempfile.TemporaryDirectory() as reports:
        tally, proven = prove(STAGES, _pytest, Path(reports), progress)
    ended = "Everything was run" if proven else "The proof has failed, and was not gone on with"
    console.print(f"\n{ended}, in {(monotonic() - began) / 60:.1f} minutes.\n", highlight=False)
    tally.show(console)
    return 0 if proven else 1


def prove(stages: Sequence[Stage], run: Run, reports: Path, progress: Progress) -> tuple[Tally, bool]:
    """Run the stages until one fails for good; what was found, and whether all of it passed."""
    tally = Tally()
    for stage in stages:
        code = _report(run, stage.name, stage.options, tally, reports, progress)
        if code == _SOME_FAILED and len(tally.failed) <= _MANY:
            failed = sorted(str(test) for test in tally.failed)
            code = _report(run, f"once more, what failed of {stage.name}", failed, tally, reports, progress)
        if code not in {0, _NONE_COLLECTED}:
            return tally, False
    return tally, True


def _report(run: Run, name: str, options: Sequence[str], tally: Tally, reports: Path, progress: Progress) -> int:
    progress.say(f"\n{name}")
    report = reports / f"{name}.xml"
    code = run([f"--junitxml={report}", *options])
    if report.exists():
        tally.add(report)
    return code


def _pytest(options: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", *options, *sys.argv[1:]]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
