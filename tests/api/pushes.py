"""Pushes to the remote of a desk, as a forge tells of them."""

from deployd.delivery import Delivery, Push, Received
from tests.desk import MAIN, REPO, Desk


async def pushed(daemon: Desk, commit: str, guid: str = "g", *apps: str) -> None:
    """The branch moves to `commit`, and the forge tells of it; what comes of that is left to the daemon."""
    daemon.source.remotes[REPO][MAIN] = commit
    await told(daemon, commit, guid, *apps)


async def told(daemon: Desk, commit: str, guid: str = "g", *apps: str) -> None:
    """The forge tells of a push of `commit`."""
    push = Push("example.com/acme/iris", MAIN, commit)
    await daemon.scheduler.accept(Delivery("github", guid, "push"), push, apps or ("iris",))


async def answered(daemon: Desk, guid: str = "g") -> Received:
    """A delivery once no app of it owes a look any more."""
    watch = daemon.events.watch(after=0)
    while True:
        received = await daemon.store.delivery(guid)
        if received is not None and all(outcome.looked_at for outcome in received.outcomes):
            return received
        await anext(watch)


async def troubled(daemon: Desk, app: str = "iris") -> None:
    """A look at the app's remote has failed; that is so once the remote is away and something asks for a look."""
    while daemon.scheduler.looks.trouble(app) is None:
        await daemon.source.asked.get()
