"""deployd, with a death foreseen: it kills itself by SIGKILL at one exact point of its records.

`DEPLOYD_FAULT` names the point: `after begin_step build`, `before advance live`, ... The product knows nothing of it.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from deployd.__main__ import main
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


def foresee(point: str) -> None:
    """Arrange that the process dies directly before or after the store records what `point` names."""
    when, method, what = point.split()
    record: Callable[..., Awaitable[Any]] = getattr(Store, method)

    @wraps(record)
    async def fatal(store: Store, deploy: object, *values: object, **more: object) -> Any:
        hit = what in {str(value) for value in values}
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await record(store, deploy, *values, **more)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(Store, method, fatal)


if __name__ == "__main__":
    if fault := os.environ.get("DEPLOYD_FAULT"):
        foresee(fault)
    main()
