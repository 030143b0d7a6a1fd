"""Pushes to the remote of the daemon under test, and their deliveries."""

from deployd.delivery import Delivery, Followed, Push, Received
from tests.desk import MAIN, REPO, Desk


async def pushed(daemon: Desk, commit: str, guid: str = "g", *apps: str) -> None:
    """Move the branch to `commit` and deliver the push."""
    daemon.source.remotes[REPO][MAIN] = commit
    await told(daemon, commit, guid, *apps)


async def told(daemon: Desk, commit: str, guid: str = "g", *apps: str) -> None:
    """Deliver a push of `commit`."""
    push = Push("example.com/acme/iris", MAIN, commit)
    await daemon.scheduler.accept(Delivery("github", guid, "push"), [Followed(push, apps or ("iris",))])


async def answered(daemon: Desk, guid: str = "g") -> Received:
    """Wait until a look has answered the delivery for all its apps."""
    watch = daemon.events.watch(after=0)
    while True:
        received = await daemon.store.delivery(guid)
        if received is not None and all(outcome.looked_at for outcome in received.outcomes):
            return received
        await anext(watch)


async def troubled(daemon: Desk, app: str = "iris") -> None:
    """Wait until a look at the app's remote has failed. The remote must be unavailable and a look must be due."""
    while daemon.scheduler.looks.trouble(app) is None:
        await daemon.source.asked.get()
