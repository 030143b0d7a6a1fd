"""Reads what a decision needs to know of a head, no more than that, and decides: the same for a look, `plan` and `check`."""

from collections.abc import Awaitable, Callable

from msgspec import structs

from deployd.config.app import App
from deployd.goal import Head, Known, Skip, Wait
from deployd.order.checks import WaitingHead
from deployd.order.decide import Seen, decide, needs_commit, needs_diff
from deployd.ports.source import Source

Ask = Callable[[App, Head], Awaitable[WaitingHead | None]]
"""Asks for the checks of a head: since when it waits for them, None when they are green, or need not be."""


async def read_and_decide(app: App, head: Head, known: Known, source: Source, ask: Ask) -> Head | Skip | Wait | None:
    """What becomes of a head. Its checks are asked for last, and only when nothing else keeps it from being deployed."""
    if not needs_commit(head, known):
        return decide(app, head, known, Seen())
    changed = None
    facts = await source.facts(app, head)
    if known.wanted is not None and needs_diff(app):
        changed = await source.changed(app, known.wanted.commit, head.commit)
    seen = Seen(facts.message, changed)
    decision = decide(app, head, known, seen)
    if isinstance(decision, Head) and (waiting := await ask(app, head)) is not None:
        return decide(app, head, known, structs.replace(seen, not_green=waiting.reason, waited=waiting.age))
    return decision
