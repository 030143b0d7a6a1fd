"""How the traffic goes back from a watched release to its standby: the intent is recorded, the traffic moves, both are recorded.
`behind.py` asks for it, after a failed watch or for a person.

A crash before the intent is recorded leaves a watched release, one after it a return that the next start finishes: whatever the
traffic does by then, the store ends with one of the two live.
"""

import asyncio
import time
from collections.abc import Sequence

from deployd.config.app import App
from deployd.domain import Deploy, GateResult
from deployd.errors import RolloutFailed
from deployd.metrics import DEPLOYS
from deployd.ports.target import Target
from deployd.status import Status
from deployd.store.store import Store

# A disk that is slow or full does not keep the traffic at a bad release for longer.
_RECORD_SECONDS = 0.1


def is_watched(app: App, deploy: Deploy) -> bool:
    """Whether a release is watched once it is live. A rollback by a person is not watched: they know why they went back."""
    return app.watch is not None and deploy.rollback_to is None


async def return_traffic(
    store: Store, target: Target, app: App, live: Deploy, reason: str, results: Sequence[GateResult] = ()
) -> tuple[Deploy, float]:
    """Return the traffic of `live` for what its watch has found; the release that is live then, and the seconds until the
    traffic had moved.

    RolloutFailed when the one that stands by cannot serve: then nothing has changed. Not to be cancelled in between.
    """
    began = time.monotonic()
    standby = await store.deploy(app.name, live.standby) if live.standby is not None else None
    if standby is None:
        raise RolloutFailed(f"no release stands by for {live.name}")
    intent = asyncio.ensure_future(store.begin_return(live, reason, results))
    await asyncio.wait({intent}, timeout=_RECORD_SECONDS)
    try:
        await target.return_traffic(app, standby)
        took = time.monotonic() - began
    except RolloutFailed:
        await intent
        await store.abandon_return(live)
        raise
    finally:
        await intent
    back = await store.record_return(live, reason)
    DEPLOYS.labels(app.name, Status.REVERTED.value).inc()
    return back, took
