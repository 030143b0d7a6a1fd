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
from deployd.domain import Deploy, GateResult, Head, Health, Image
from deployd.terminal import Terminal

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
    """What is built: the image's name and tag, labels, and plain build args (COMMIT among them).

    `fresh`: without the build cache; `pull`: from base images that are pulled first.
    """

    app: App
    commit: str
    name: str
    tag: str
    labels: Mapping[str, str]
    args: Mapping[str, str]
    fresh: bool = False
    pull: bool = False

    @property
    def full_name(self) -> str:
        """The image's name with its tag."""
        return f"{self.name}:{self.tag}"

    @property
    def settings(self) -> str:
        """A hash of what the image is built with: one built with other settings is not used again. Secrets count by name."""
        build = self.app.build
        kind = [self.name, build.context, build.dockerfile, build.stage, build.submodules, build.lfs]
        digest = hashlib.sha256(json.dumps([*kind, sorted(build.secrets), sorted(self.args.items())]).encode())
        return digest.hexdigest()[:16]

    @property
    def image_labels(self) -> Mapping[str, str]:
        """The labels of the image."""
        return {**self.labels, "io.deployd.build": self.settings}


@dataclass(frozen=True, slots=True)
class Present:
    """An image that is still there, with its size in bytes; `named`: under the name that was given to it."""

    size: int
    named: bool = True


@dataclass(frozen=True, slots=True)
class Removal:
    """What the removal of an image did. `done`: our name for it is gone; `rest`: why (some of) it stays, if it does."""

    done: bool
    rest: str = ""


class Builder(Protocol):
    """Commit -> Image."""

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """Build and tag `request.full_name`. BuildFailed with the last log lines. When cancelled, it first removes everything
        that the build started."""
        ...

    async def find(self, image: Image) -> Present | None:
        """An image that was built before, if it still exists."""
        ...

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        """Take the name away that was given to an image, and remove the image if nothing else names it, uses it or is built on
        it. Nothing else is removed. A name that leads to another image by now is left alone. With `dry_run` only say what would
        come of it."""
        ...

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        """Shrink the build cache towards `limit_bytes` and remove the remains of failed builds; returns the bytes freed, or with
        `dry_run` those that would be, as far as that can be told."""
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

    def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        """The output of the running release: of its lines `since` then the last `tail` (None: all), and new ones as they come."""
        ...

    async def describe(self, app: App) -> Mapping[str, Any]:
        """What runs: addresses, labels, state, last events. For a person, as JSON."""
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
        """Follow what happens outside (a release that dies, an engine that restarts) and call `changed`; repair what all apps
        share, such as a gateway. Runs until it is cancelled; goes on when the outside is away."""
        ...

    async def ping(self) -> Mapping[str, str]:
        """Each part (`engine`, `gateway`, `cluster`) with "ok" or what is wrong, for `readyz`. Never raises."""
        ...
