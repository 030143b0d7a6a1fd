"""A daemon with tokens and something to show, for the tests of the pages."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deployd.delivery import Delivery, Followed, Push
from deployd.domain import Deploy, GateResult, Image
from deployd.goal import Head, Skip, Trigger, Wanted
from deployd.status import Status
from deployd.store.store import Store
from tests.desk import MAIN, Desk, desk, settings

TOKENS = {"reader": "read", "ada": "deploy", "admin": "admin"}
WAY = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)
HEADERS = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
FORM = HEADERS | {"Content-Type": "application/x-www-form-urlencoded"}


def secured(*names: str, **sections: Any) -> dict[str, Any]:
    """A config with a token for each role: `reader-token`, `ada-token`, `admin-token`."""
    tokens = [
        {"name": name, "role": role, "sha256": hashlib.sha256(f"{name}-token".encode()).hexdigest()}
        for name, role in TOKENS.items()
    ]
    return settings(*names, auth={"tokens": tokens}, **sections)


@asynccontextmanager
async def secured_desk(directory: Path, *names: str, **sections: Any) -> AsyncIterator[Desk]:
    """A daemon with that config."""
    async with desk(directory, secured(*names, **sections)) as running:
        yield running


async def ended(
    store: Store,
    app: str,
    commit: str,
    subject: str,
    *statuses: Status,
    reason: str = "",
    hint: str = "",
    steps: Sequence[str] = (),
    gates: Sequence[GateResult] = (),
    model: dict[str, Any] | None = None,
    **wishes: Any,
) -> Deploy:
    """A deploy that went through those statuses, without a lane; recorded as the pipeline records it."""
    wanted = Wanted(app, commit, MAIN, wishes.pop("trigger", Trigger("push", "g")), subject, "Grace Hopper", **wishes)
    await store.pause(app, paused=True)  # its lane takes nothing up
    deploy = await store.queue(wanted)
    for status in statuses:
        last = status is statuses[-1]
        deploy = await store.advance(deploy, status, reason=reason if last else "", hint=hint if last else "")
        if status is Status.BUILDING:
            await _steps(store, deploy, steps, failed=statuses[-1] is Status.FAILED)
            await store.record_image(deploy, Image(f"deployd/test/{app}", f"{commit}-1", f"sha256:{commit}"))
            await store.record_gates(deploy, gates)
            await store.record_model(deploy, model or {})
    await store.pause(app, paused=False)
    found = await store.deploy(app, deploy.number)
    assert found is not None
    return found


async def _steps(store: Store, deploy: Deploy, names: Sequence[str], *, failed: bool) -> None:
    for name in names:
        position = await store.begin_step(deploy, name)
        bad = failed and name == names[-1]
        await store.end_step(deploy, position, name, "failed" if bad else "done")


async def delivered(store: Store, guid: str, commit: str, *, app: str = "iris", skip: str = "") -> None:
    """A delivery, and the look that answers it."""
    await store.accept(
        Delivery("github", guid, "push"), [Followed(Push("example.com/acme/iris", MAIN, commit), (app,))]
    )
    owed = (await store.known([app]))[app].owed
    verdict = Skip(skip) if skip else Wanted(app, commit, MAIN, Trigger("push", guid), "Retrain", "Grace Hopper")
    await store.decide(app, Head(MAIN, commit), verdict, owed[-1].id)
