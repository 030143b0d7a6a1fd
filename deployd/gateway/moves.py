"""One change of an app's slots in HAProxy, checked, and its undoing. A replaced HAProxy, which still has connections, follows."""

import logging
from collections.abc import Sequence

from deployd.errors import Unavailable
from deployd.gateway.container import GatewayContainer
from deployd.gateway.runtime import Runtime
from deployd.gateway.slots import Route, commands
from deployd.tasks import together

logger = logging.getLogger(__name__)


async def move(
    container: GatewayContainer, runtime: Runtime, before: Route, after: Route, more: Sequence[str] = ()
) -> None:
    """Change the slots, run `more` commands, and check that the traffic goes where it should."""
    lines = [*commands(before.backend, before.slots, after.slots), *more]
    await runtime.apply(lines)
    now, replaced = await together(runtime.slots(after.backend), container.replaced())
    if Route(after.app, slots=now).serving != after.serving:
        raise Unavailable(f"the gateway does not switch {after.app}: {now}")
    for former in replaced:
        await former.apply(lines)


async def undo(runtime: Runtime, after: Route, before: Route) -> None:
    """Change the slots back after a move that failed."""
    try:
        await runtime.apply(commands(before.backend, after.slots, before.slots))
    except Unavailable as exc:
        # The file still has the old state, so a restarted HAProxy has it, too; `reconcile` corrects one that still runs.
        logger.warning("The switch of %s could not be undone: %s", before.app, exc)
