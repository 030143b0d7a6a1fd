"""All that deployd can do to the world, as the pipeline sees it; main.py alone knows who does it.

The adapters implement these and never see one another. Every method may raise Unavailable (the outside is away; the caller
retries) beside what its docstring names, and may be cancelled at any await unless it says otherwise.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Head, Image, Kept

KeptNow = Callable[[], Awaitable[Kept]]
InFlight = Callable[[], int | None]


def none_in_flight() -> int | None:
    """No deploy of the app is under way."""
    return None


class Log(Protocol):
    """The log of one deploy: what a person reads to learn why."""

    def write(self, text: str) -> None:
        """Append `text`, which ends its own lines; redacted and capped, flushed at once. Never blocks for long."""
        ...

    def hide(self, secret: str) -> None:
        """Mask `secret` from here on, in every usual encoding; whoever reads a secret for a deploy says so first."""
        ...

    def redact(self, text: str) -> str:
        """`text` with what the log masks masked: for what is kept beside it."""
        ...

    def tail(self, lines: int = 10) -> str:
        """The last lines, as they stand in the log: for the hint of an error."""
        ...


class Context(Protocol):
    """The build context of one commit, straight from git objects; use it as an async context manager and only inside."""

    commit: str
    dockerfile: str
    """The Dockerfile's name inside the tar. Not always the configured one: it may lie outside of the context, or be a link."""
    instructions: bytes
    """What stands in the Dockerfile."""

    def tar(self) -> AsyncIterator[bytes]:
        """The context as an uncompressed tar stream; `.dockerignore` is applied, the Dockerfile is always in it.

        May be asked for more than once; each stream starts anew.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """A file of the commit by its path from the repository's root, None when it is not there (or is no file)."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """What a commit says of itself: its whole message; subject (200 characters) and author (100) on one line each."""

    message: str
    subject: str
    author: str


class Source(Protocol):
    """Where commits come from."""

    async def heads(self, app: App) -> Mapping[str, str]:
        """The remote's refs that `app` watches, full ref -> commit (tags peeled). One `ls-remote` per repository and moment:
        apps that share a repository and ask at the same time share the answer."""
        ...

    async def resolve(self, app: App, name: str) -> str:
        """The full SHA that a person means by `name` (branch, tag, full or short SHA). RequestRefused 404 when there is none."""
        ...

    async def fetch(self, app: App, commit: str, ref: str, log: Log) -> Context:
        """Exactly `commit`, retrying while the remote does not show it yet. BuildFailed when it is not to be had."""
        ...

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        """The paths that differ between two commits of the remote; None when one of them is not to be had."""
        ...

    async def facts(self, app: App, head: Head) -> CommitFacts:
        """What the commit says of itself. It is fetched; Unavailable or BuildFailed when that cannot be done."""
        ...

    async def contains(self, app: App, head: Head, commit: str) -> bool:
        """Whether `commit` is one of the last thousand ancestors of `head` (or the head itself), as far as the remote says."""
        ...

    async def ping(self, app: App) -> None:
        """The remote answers and has the watched branch; else Unavailable with the reason."""
        ...


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is built: the image's name and tag, labels, and plain build args (COMMIT among them)."""

    app: App
    commit: str
    name: str
    labels: Mapping[str, str]
    args: Mapping[str, str]

    @property
    def image_labels(self) -> Mapping[str, str]:
        """What the image says of itself: `labels`, and a hash of all that shapes it beside the commit, so that an image
        built with other settings is not taken for this one. Of secrets only the names count."""
        build = self.app.build
        shape = [build.context, build.dockerfile, build.stage, build.submodules, build.lfs, sorted(build.secrets)]
        digest = hashlib.sha256(json.dumps([*shape, sorted(self.args.items())]).encode())
        return {**self.labels, "io.deployd.build": digest.hexdigest()[:16]}


class Builder(Protocol):
    """Commit -> Image."""

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """Build and tag `request.name:request.commit`. BuildFailed with the last log lines; when cancelled, everything that
        the build started is gone before the cancellation leaves here."""
        ...

    async def find(self, request: BuildRequest) -> Image | None:
        """The image of that request, when it was built before from the same commit and settings and is still there."""
        ...

    async def trim(self, limit_bytes: int) -> int:
        """Shrink the build cache towards `limit_bytes`, and remove what failed builds left; the bytes freed."""
        ...

    async def ping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something new that runs but gets no traffic yet. `address` is its base URL as deployd reaches it."""

    app: App
    deploy: Deploy
    address: str
    image: Image


class Gate(Protocol):
    """A proof asked of a candidate before it gets traffic."""

    name: str

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Try until there is a verdict. A dead candidate is the target's to notice: it cancels the gates."""
        ...


class Progress(Protocol):
    """What a target tells the pipeline while it rolls out, in this order: steps, prove, cutting_over, serving."""

    log: Log

    def step(self, name: str) -> AbstractAsyncContextManager[None]:
        """Record a step of the deploy around the block: done, failed or cancelled as the block ends."""
        ...

    async def tell(self, step: str, text: str) -> None:
        """Say how far a step that is under way has come: "2 of 4 updated"."""
        ...

    async def prove(self, candidate: Candidate) -> None:
        """Ask every gate; RolloutFailed names the one that refused. Records the results."""
        ...

    async def pushed(self, image: Image) -> None:
        """Record the image with the digest that the registry gave it; only from targets that pull from a registry."""
        ...

    async def cutting_over(self) -> None:
        """Record `rolling_out`, directly before the first thing that changes what serves. Raises CancelledError when
        something newer is waiting: older never overwrites newer."""
        ...

    async def serving(self) -> None:
        """Record `live`, at the very moment that the new release takes the traffic."""
        ...


class Target(Protocol):
    """Where an app runs. However `roll_out` ends (return, error, cancel), one healthy release serves."""

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """Make `image` serve. RolloutFailed or a cancellation before the cut-over leaves no candidate behind; from the
        cut-over on, a cancellation is obeyed only after `serving` was recorded. What served before is left to `sweep`."""
        ...

    async def serving(self, app: App) -> int | None:
        """The number of the deploy that the app's traffic goes to now, as the outside says; None when nothing serves, or when
        something unproven is asked for."""
        ...

    async def restore(self, app: App, deploy: Deploy) -> None:
        """Make a recorded release serve again (its container started, or made anew from its image). Idempotent."""
        ...

    async def sweep(self, app: App, keep: int | None, log: Log, in_flight: InFlight = none_in_flight) -> None:
        """Drain, stop and remove all that runs for `app` but deploy `keep`, what serves, and the candidate of the deploy that is
        `in_flight` meanwhile; half-made candidates that a crash left too.

        `keep` is None when nothing is known to be live: after a first deploy that failed, or when the state was lost. Idempotent.
        """
        ...

    async def remove(self, app: str) -> None:
        """Take an app that is no longer configured away altogether, by its labels: traffic, containers, networks. Does
        nothing for an app that does not run here."""
        ...

    async def prune(self, app: App, kept: KeptNow, images: int, image_bytes: int) -> int:
        """Remove the app's oldest images past `images` by number or `image_bytes` in all; bytes freed.

        Never one that is `kept`, which is asked before each goes: the next deploy may take it up meanwhile.
        """
        ...

    def output(self, app: App, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        """What the running release prints, last `tail` lines (None: all), then as it comes."""
        ...

    async def describe(self, app: App) -> Mapping[str, Any]:
        """What runs, for a person: addresses, labels, state, last events. JSON-ready."""
        ...

    async def execute(self, app: App, command: Sequence[str], out: Callable[[bytes], Awaitable[None]]) -> int:
        """Run a command beside the live release's process; its output as it comes, and its exit code."""
        ...

    async def scale(self, app: App, replicas: int) -> None:
        """RequestRefused 409 where the target has no replicas."""
        ...

    async def watch(self) -> None:
        """Follow what happens outside (a release that dies, an engine that restarts) and correct what it upsets; runs until
        it is cancelled, and survives that the outside is away."""
        ...

    async def ping(self) -> Mapping[str, str]:
        """Part -> "ok" or what is wrong with it (`engine`, `gateway`, `cluster`), for `readyz`; never raises."""
        ...
