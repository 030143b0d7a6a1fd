"""What deployd needs from the outside world, as the pipeline sees it; only main.py knows the implementations.

The adapters implement these protocols and do not import one another. Every method may raise Unavailable (the caller tries again)
besides what its docstring names, and may be cancelled at any await unless it says otherwise.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Head, Health, Image, Kept

KeptNow = Callable[[], Awaitable[Kept]]
InFlight = Callable[[], int | None]
Changed = Callable[[str | None], None]
"""Called with the name of an app when what serves it may have changed outside; None: that of any app."""


def none_in_flight() -> int | None:
    """No deploy of the app is under way."""
    return None


class Log(Protocol):
    """The log of one deploy."""

    def write(self, text: str) -> None:
        """Append `text`, with its own line ends; redacted, capped and flushed at once. Never blocks for long."""
        ...

    def hide(self, secret: str) -> None:
        """Mask `secret` from now on, in every usual encoding. Call it before a secret is used for the deploy."""
        ...

    def redact(self, text: str) -> str:
        """`text` with the same secrets masked, for what is stored outside the log."""
        ...

    def tail(self, lines: int = 10) -> str:
        """The last lines of the log, for the hint of an error."""
        ...


class Context(Protocol):
    """The build context of one commit, read from git objects. An async context manager; use it only inside its block."""

    commit: str
    dockerfile: str
    """The Dockerfile's name in the tar. The configured one may lie outside the context or be a link."""
    instructions: bytes
    """The content of the Dockerfile."""

    def tar(self) -> AsyncIterator[bytes]:
        """The context as an uncompressed tar stream; `.dockerignore` is applied, the Dockerfile is always in it.

        Each call starts a new stream.
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
        """Exactly `commit`, retrying while the remote does not show it yet. BuildFailed when the remote does not have it."""
        ...

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        """The paths that differ between two commits of the remote; None when the remote lacks one of them."""
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
        """The labels of the image: `labels`, and a hash of the settings that it is built with, so that an image built with other
        settings is not used again. Secrets count by their names only."""
        build = self.app.build
        settings = [build.context, build.dockerfile, build.stage, build.submodules, build.lfs, sorted(build.secrets)]
        digest = hashlib.sha256(json.dumps([*settings, sorted(self.args.items())]).encode())
        return {**self.labels, "io.deployd.build": digest.hexdigest()[:16]}


class Builder(Protocol):
    """Commit -> Image."""

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """Build and tag `request.name:request.commit`. BuildFailed with the last log lines. When cancelled, it first removes
        everything that the build started."""
        ...

    async def find(self, request: BuildRequest) -> Image | None:
        """The image that was built before from the same commit and settings, if it still exists."""
        ...

    async def trim(self, limit_bytes: int) -> int:
        """Shrink the build cache towards `limit_bytes` and remove the remains of failed builds; returns the bytes freed."""
        ...

    async def ping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new release that runs but gets no traffic yet. `address`: its base URL for deployd; `headers`: those to ask it with."""

    app: App
    deploy: Deploy
    address: str
    image: Image
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate(Protocol):
    """A proof asked of a candidate before it gets traffic."""

    name: str

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Try until there is a verdict. The target notices when the candidate dies, and cancels the gates."""
        ...


class Progress(Protocol):
    """What a target calls while it rolls out, in this order: step, prove, cutting_over, serving."""

    log: Log

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


class Target(Protocol):
    """Where an app runs. However `roll_out` ends (return, error, cancel), one healthy release serves."""

    async def require(self, app: App) -> None:
        """ConfigError when the app cannot run here as it is configured (a secret, an option, a network). Asked before a build."""
        ...

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """Make `image` serve. A failure (RolloutFailed) or a cancellation before the cut-over leaves no candidate behind. From
        the cut-over on, a cancellation takes effect only after `serving` was recorded. `sweep` removes what served before."""
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
        """Repair whatever makes the recorded live release `deploy` `down`: start its container, or make a new one from its image.
        Idempotent. RolloutFailed when that is not possible. May be cancelled at any await: a deploy then changes what serves.

        Returns whether something was made anew, with the present config.
        """
        ...

    async def has(self, image: Image) -> bool:
        """Whether the image of an earlier release still exists, so that a rollback could use it."""
        ...

    async def sweep(self, app: App, keep: int | None, log: Log, in_flight: InFlight = none_in_flight) -> None:
        """Drain, stop and remove what runs for `app`, also candidates that a crash left, except for deploy `keep`, what serves,
        and the candidate of the deploy that is `in_flight` at that moment.

        `keep` is None when no release is live: after a first deploy that failed, or when the state was lost. Idempotent.
        """
        ...

    async def remove(self, app: str) -> None:
        """Remove everything of an app that is no longer configured: traffic, containers, networks. Does nothing for an app that
        does not run here."""
        ...

    async def prune(self, app: App, kept: KeptNow, images: int, image_bytes: int) -> int:
        """Remove the app's oldest images beyond `images` by number or `image_bytes` in total; returns the bytes freed.

        Never one that is `kept`; that is asked before each removal, as the next deploy may use an image meanwhile.
        """
        ...

    def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        """The output of the running release: of its lines `since` then the last `tail` (None: all), and new ones as they come."""
        ...

    async def describe(self, app: App) -> Mapping[str, Any]:
        """What runs: addresses, labels, state, last events. For a person, as JSON."""
        ...

    async def execute(self, app: App, command: Sequence[str], out: Callable[[bytes], Awaitable[None]]) -> int:
        """Run a command in the live release; passes its output on as it comes, returns its exit code."""
        ...

    async def scale(self, app: App, replicas: int) -> None:
        """Run so many replicas. RequestRefused 409 where the target has none."""
        ...

    async def watch(self, changed: Changed) -> None:
        """Follow what happens outside (a release that dies, an engine that restarts) and call `changed`; repair what all apps
        share, such as a gateway. Runs until it is cancelled; goes on when the outside is away."""
        ...

    async def ping(self) -> Mapping[str, str]:
        """Each part (`engine`, `gateway`, `cluster`) with "ok" or what is wrong, for `readyz`. Never raises."""
        ...
