"""deployd, with a death foreseen: it sends itself SIGKILL at one exact point of its records.

`DEPLOYD_FAULT` names the point: `after begin_step build`, `before advance live`, ..., `DEPLOYD_FAULT_SIGNAL` another signal and
`DEPLOYD_FAULT_FROM` the first deploy that is meant: at a start the live one is tidied again. The product knows nothing of it.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from deployd.__main__ import main
from deployd.domain import Deploy
from deployd.store.store import Store

POINTS = tuple(
    f"{when} {method} {what}"
    for method, names in (
        ("begin_step", ("fetch", "build", "candidate", "ready", "cut-over", "drain", "prune")),
        ("end_step", ("fetch", "build", "candidate", "ready", "cut-over", "drain", "prune")),
        ("advance", ("building", "checking", "rolling_out", "live")),
    )
    for what in names
    for when in ("before", "after")
)


def foresee(point: str, by: signal.Signals, first: int) -> None:
    """Arrange that the process gets the signal directly before or after the store records what `point` names.

    Deploys with a number under `first` are spared.
    """
    when, method, what = point.split()
    record: Callable[..., Awaitable[Any]] = getattr(Store, method)

    @wraps(record)
    async def fatal(store: Store, deploy: Deploy, *values: object, **more: object) -> Any:
        hit = deploy.number >= first and what in {str(value) for value in values}
        if hit and when == "before":
            os.kill(os.getpid(), by)
        result = await record(store, deploy, *values, **more)
        if hit and when == "after":
            os.kill(os.getpid(), by)
        return result

    setattr(Store, method, fatal)


if __name__ == "__main__":
    if fault := os.environ.get("DEPLOYD_FAULT"):
        by = signal.Signals[os.environ.get("DEPLOYD_FAULT_SIGNAL", "SIGKILL")]
        foresee(fault, by, int(os.environ.get("DEPLOYD_FAULT_FROM", "0")))
    main()
