"""deployd with a signal at a chosen point and a trace of its work; both are told in its log, in lines of their own.

It sends itself SIGKILL at one exact point of its records, which `DEPLOYD_FAULT` names: `after accept delivery`,
`before decide head`, `after begin_step build`, `before advance live`, ... `DEPLOYD_FAULT_SIGNAL` is another signal, and
`DEPLOYD_FAULT_FROM` the first deploy that is meant: at a start the live one is cleaned up behind again. It also tells when the
work at a deploy begins and when all of it is over. The product knows nothing of this.
"""

import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

from deployd.__main__ import main
from deployd.config.app import App
from deployd.domain import Deploy
from deployd.passage import MayCutOver
from deployd.pipeline import Pipeline
from deployd.store.store import Store

STEPS = ("fetch", "build", "candidate", "ready", "golden", "cut-over", "drain", "prune")
POINTS = tuple(
    f"{when} {method} {what}"
    for method, names in (
        ("accept", ("delivery",)),
        ("decide", ("head",)),
        ("begin_step", STEPS),
        ("end_step", STEPS),
        ("advance", ("building", "checking", "rolling_out", "live")),
        ("begin_build", ("image",)),
        ("end_build", ("image",)),
        ("record_made", ("container",)),
    )
    for what in names
    for when in ("before", "after")
)
RETURN = tuple(
    f"{when} {record} return" for record in ("begin_return", "record_return") for when in ("before", "after")
)
"""The points of the return from a release that fails its watch."""
PROOF = (
    "before end_build image",
    "before record_made container",
    "after begin_step golden",
    "after advance proven",
)
"""The points of a proof, after which an image, a container or neither is there that nobody has recorded."""


def foresee(point: str, by: signal.Signals, first: int) -> None:
    """Arrange that the process gets the signal directly before or after the store records what `point` names.

    Deploys with a number under `first` are spared.
    """
    when, method, what = point.split()
    record: Callable[..., Awaitable[Any]] = getattr(Store, method)

    def strike() -> None:
        _say(f"{point} at {time.monotonic()}")
        os.kill(os.getpid(), by)

    @wraps(record)
    async def fatal(store: Store, *values: object, **more: object) -> Any:
        hit = _meant(method, what, first, values)
        if hit and when == "before":
            strike()
        result = await record(store, *values, **more)
        if hit and when == "after":
            strike()
        return result

    setattr(Store, method, fatal)


def _meant(method: str, what: str, first: int, values: Sequence[object]) -> bool:
    """Whether a record of those values is the one that was named."""
    if method in {"accept", "decide"}:
        return True
    deploy, *others = values
    if method == "record_made":
        return isinstance(others[0], int) and others[0] >= first
    named = method in {"begin_build", "end_build", "begin_return", "record_return"} or what in {
        str(value) for value in others
    }
    return isinstance(deploy, Deploy) and deploy.number >= first and named


def watch() -> None:
    """Write to the log when the work on each deploy begins and ends, with what it does after it was told to end."""
    run = Pipeline.run

    @wraps(run)
    async def watched(pipeline: Pipeline, app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        _say(f"begins {deploy.name}")
        try:
            await run(pipeline, app, deploy, may_cut_over)
        finally:
            _say(f"ends {deploy.name}")

    Pipeline.run = watched  # type: ignore[method-assign, assignment]


def _say(text: str) -> None:
    os.write(sys.stderr.fileno(), f"witness: {text}\n".encode())


if __name__ == "__main__":
    _say("starts")
    watch()
    if fault := os.environ.get("DEPLOYD_FAULT"):
        by = signal.Signals[os.environ.get("DEPLOYD_FAULT_SIGNAL", "SIGKILL")]
        foresee(fault, by, int(os.environ.get("DEPLOYD_FAULT_FROM", "0")))
    main()
