"""The interface of targets, on which apps run, and of the progress that a target reports."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Health, Image
from deployd.judge.traffic import Reading
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.watching import Lives
from deployd.terminal import Terminal

InFlight = Callable[[], int | None]
Changed = Callable[[str | None], None]
"""Called with the name of an app whose serving release may have changed outside deployd; None: that of any app."""


def none_in_flight() -> int | None:
    """No deploy of the app is under way."""
    return None


class Progress(Protocol):
    """The calls that a target makes while it rolls out, in this order: step, prove, cutting_over, serving; in a canary also
    prove_again and judged. On a cluster, whose new pods get requests at once, prove and the canary come after cutting_over."""

    @property
    def log(self) -> Log:
        """The log of the deploy."""
        ...

    def step(self, name: str) -> AbstractAsyncContextManager[None]:
        """Record a step of the deploy: it is done, failed or cancelled as the block ends."""
        ...

    async def tell(self, step: str, text: str) -> None:
        """Record the progress of a running step, such as "2 of 4 updated"."""
        ...

    async def read(self, path: str) -> bytes | None:
        """A file of the deploy's commit; None when there is none."""
        ...

    async def prove(self, candidate: Candidate) -> None:
        """Ask every gate and record the results. RolloutFailed names the gate that refused."""
        ...

    async def prove_again(self, candidate: Candidate) -> None:
        """Ask the gates that need only the candidate again, while it has a share of the traffic. RolloutFailed as above."""
        ...

    async def judged(self, result: GateResult) -> None:
        """Record the verdict from the canary's traffic."""
        ...

    async def pushed(self, image: Image) -> None:
        """Record the image with the digest from the registry; only targets that pull from a registry call it."""
        ...

    async def cutting_over(self) -> None:
        """Record `rolling_out`, directly before the first change of what serves. Raises CancelledError when a newer deploy
        waits: older never overwrites newer."""
        ...

    async def serving(self) -> None:
        """Record `live`, at the moment when the new release takes the traffic."""
        ...


class Made(Protocol):
    """The record of the containers that this instance made, by the engine's ids."""

    async def made(self, app: str, number: int) -> str | None:
        """The id of the container that was made last for a deploy; None when none is recorded."""
        ...

    async def record_made(self, app: str, number: int, container: str) -> None:
        """Record the container of a deploy."""
        ...

    async def forget_made(self, app: str, number: int) -> None:
        """Forget the container of a deploy, before another is made."""
        ...


class Target(Protocol):
    """Where an app runs. However `roll_out` ends (return, error, cancel), one healthy release serves."""

    async def require(self, app: App) -> None:
        """ConfigError when the app cannot run here as it is configured (a secret, an option, a network). Asked before a build."""
        ...

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """Make `image` serve. A failure (RolloutFailed) or a cancellation before the cut-over leaves no candidate behind. From
        the cut-over on, a cancellation takes effect only after `serving` was recorded. `sweep` removes what served before."""
        ...

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """Start a candidate of `image` beside what serves, let `progress` ask its gates, and remove it. RolloutFailed when a gate
        refuses it or it does not come up. It gets no traffic, and however this ends, nothing of it is left."""
        ...

    async def serving(self, app: App) -> int | None:
        """The number of the deploy that gets the app's traffic now, as the target itself says; None when nothing serves, or when
        something unproven was requested there."""
        ...

    async def health(self, app: App, deploy: Deploy) -> Health:
        """How the recorded live release `deploy` is; `down` when something else runs, or when it does not run as it should.

        Never `unknown`: then it raises Unavailable."""
        ...

    async def restore(self, app: App, deploy: Deploy) -> bool:
        """Repair the recorded live release `deploy` when it is `down`: start its container, or make a new one from its image.
        Idempotent. RolloutFailed when that is not possible. May be cancelled at any await: a deploy then changes what serves.

        Returns whether something was made anew, with the present config.
        """
        ...

    async def traffic(self, app: App, number: int) -> Reading:
        """The counters of the requests to deploy `number` so far; empty where nobody counts, or when it gets none.

        Two readings make a stretch of time: `window = Window(first)`, then `window.add(next)` as often as wished, and
        `window.whole()` says how many requests came since the first, how many went wrong, and how long answers took."""
        ...

    async def has(self, image: Image) -> bool:
        """Whether the image of an earlier release still exists, so that a rollback could use it."""
        ...

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,
    ) -> None:
        """Drain, stop and remove what runs for `app`, also candidates that a crash left, except for deploy `keep`, what serves,
        the release that stands by for it, and the candidate of the deploy that is `in_flight` at that moment.

        `keep` is None when no release is live: after a first deploy that failed, or when the state was lost. Idempotent.
        """
        ...

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        """How the containers or pods of a release are. Of one that should run there is at least one; none on a target where a
        release that stands by does not run."""
        ...

    def asked(self, app: App, deploy: Deploy) -> AbstractAsyncContextManager[Candidate | None]:
        """A running release in the form of a candidate, so that gates can ask it inside the block; None when nothing of it
        runs."""
        ...

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        """Send the traffic back to the release `deploy`, which stands by: at once where it runs. Idempotent. RolloutFailed when
        it cannot serve."""
        ...

    async def remove(self, app: str) -> None:
        """Remove everything of an app that is no longer configured: traffic, containers, networks. Does nothing for an app that
        does not run here."""
        ...

    def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        """The output of the running release: of its lines `since` then the last `tail` (None: all), and new ones as they come."""
        ...

    async def describe(self, app: App) -> Mapping[str, Any]:
        """A description of the running release for a person, as JSON: addresses, labels, state, last events."""
        ...

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        """Run a command in the live release, at a terminal if one is given; passes its output on as it comes, returns its exit
        code."""
        ...

    async def scale(self, app: App, replicas: int) -> None:
        """Run so many replicas. RequestRefused 409 where the target has none."""
        ...

    async def watch(self, changed: Changed) -> None:
        """Follow events outside deployd (a release that dies, an engine that restarts) and call `changed`; repair what all apps
        share, such as a gateway. Runs until it is cancelled; goes on when the outside is away."""
        ...

    async def ping(self) -> Mapping[str, str]:
        """Each part (`engine`, `gateway`, `cluster`) with "ok" or what is wrong, for `readyz`. Never raises."""
        ...
