"""What can happen in a world. Each is a value that does it when it is called, so that a failure prints a story to tell again.

Where something is chosen, the newest comes first: `back` counts from there. What makes no sense yet does nothing.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.order.model.remote import Fault
from tests.order.model.world import World

NOWHERE, DELETED = "f" * 40, "0" * 40


@dataclass(frozen=True)
class Commit:
    """A commit is pushed, and shown `late_by` seconds later; `told`: its delivery comes at once."""

    files: tuple[str, ...]
    message: str
    fault: Fault
    late_by: float
    told: bool

    def __call__(self, world: World) -> None:
        commit = world.commit(*self.files, message=self.message, fault=self.fault, late_by=self.late_by)
        if self.told:
            world.deliver(commit)


@dataclass(frozen=True)
class Force:
    """The branch is moved to another commit, or is made again there."""

    back: int
    late_by: float
    told: bool

    def __call__(self, world: World) -> None:
        if commit := _commit(world, self.back):
            world.push(commit, self.late_by)
            if self.told:
                world.deliver(commit)


@dataclass(frozen=True)
class Delete:
    """The branch is deleted."""

    late_by: float
    told: bool

    def __call__(self, world: World) -> None:
        world.push(None, self.late_by)
        if self.told:
            world.deliver(DELETED)


@dataclass(frozen=True)
class Deliver:
    """A delivery names a commit (None: one that is nowhere): it was late, or doubled, or is forged in its order."""

    back: int | None

    def __call__(self, world: World) -> None:
        commit = NOWHERE if self.back is None else _commit(world, self.back)
        if commit is not None:
            world.deliver(commit)


@dataclass(frozen=True)
class Redeliver:
    """A delivery comes again, under its GUID."""

    back: int

    def __call__(self, world: World) -> None:
        if guids := list(world.delivered):
            guid = guids[-1 - self.back % len(guids)]
            world.deliver(world.delivered[guid], guid)


@dataclass(frozen=True)
class Deploy:
    """A person wants a commit (None: the head)."""

    app: str
    back: int | None

    def __call__(self, world: World) -> None:
        world.deploy(self.app, None if self.back is None else _commit(world, self.back))


@dataclass(frozen=True)
class RollBack:
    """A person wants an earlier deploy again (None: the release before)."""

    app: str
    back: int | None

    def __call__(self, world: World) -> None:
        world.roll_back(self.app, None if self.back is None else _number(world, self.app, self.back))


@dataclass(frozen=True)
class Cancel:
    """A person wants no more of a deploy."""

    app: str
    back: int

    def __call__(self, world: World) -> None:
        if number := _number(world, self.app, self.back):
            world.cancel(self.app, number)


@dataclass(frozen=True)
class Pause:
    """A person lets an app wait, or go on."""

    app: str
    paused: bool

    def __call__(self, world: World) -> None:
        world.pause(self.app, paused=self.paused)


@dataclass(frozen=True)
class Away:
    """The remote or the engine does not answer, or the disk is full."""

    what: str
    seconds: float

    def __call__(self, world: World) -> None:
        until = world.clock.time() + self.seconds
        match self.what:
            case "remote":
                world.remote.away_until = until
            case "engine":
                world.engine.away_until = until
            case _:
                world.daemon.disk.full_until = until


@dataclass(frozen=True)
class Builds:
    """From now on builds take so long; `mended`: what failed before does not any more."""

    seconds: float
    mended: bool

    def __call__(self, world: World) -> None:
        world.engine.build_s = self.seconds
        for commit in world.remote.commits.values():
            commit.healed |= self.mended


@dataclass(frozen=True)
class Restart:
    """The daemon ends, in order or killed, and starts again."""

    kill: bool

    def __call__(self, world: World) -> None:
        world.restart(kill=self.kill)


@dataclass(frozen=True)
class Reload:
    """The config is read again."""

    def __call__(self, world: World) -> None:
        world.reload()


@dataclass(frozen=True)
class Settle:
    """Nothing happens for so long that everything has to be as it should; `collect`: then the remote forgets old commits."""

    collect: bool

    def __call__(self, world: World) -> None:
        world.settle()
        if self.collect:
            world.remote.forget()


def _commit(world: World, back: int) -> str | None:
    commits = list(world.remote.commits)
    return commits[-1 - back % len(commits)] if commits else None


def _number(world: World, app: str, back: int) -> int | None:
    orders = world.rules.apps[app].orders
    return orders[-1 - back % len(orders)].number if orders else None


_BACK = st.integers(0, 4)
_APPS = st.sampled_from(["iris", "rose"])
_LAGS = st.sampled_from([0.0, 0.0, 0.0, 0.1, 1.0, 4.0, 30.0])
_FILES = st.sampled_from([("model",), ("docs",), ("model", "docs")])
_MESSAGES = st.sampled_from(["Fit", "Fit", "Fit", "Fit", "Fit [skip ci]"])
_FAULTS: st.SearchStrategy[Fault] = st.sampled_from(["", "", "", "", "build", "gate"])

COMMITS = st.builds(Commit, files=_FILES, message=_MESSAGES, fault=_FAULTS, late_by=_LAGS, told=st.booleans())
MOVES = st.builds(Force, back=_BACK, late_by=_LAGS, told=st.booleans())
DELETIONS = st.builds(Delete, late_by=_LAGS, told=st.booleans())
DELIVERIES = st.builds(Deliver, back=st.sampled_from([0, 0, 1, 2, 3, None]))
REDELIVERIES = st.builds(Redeliver, back=_BACK)
DEPLOYS = st.builds(Deploy, app=_APPS, back=st.none() | _BACK)
ROLLBACKS = st.builds(RollBack, app=_APPS, back=st.none() | _BACK)
CANCELS = st.builds(Cancel, app=_APPS, back=st.integers(0, 1))
PAUSES = st.builds(Pause, app=_APPS, paused=st.booleans())
ABSENCES = st.builds(
    Away, what=st.sampled_from(["remote", "engine", "disk"]), seconds=st.sampled_from([0.05, 1.0, 10.0, 100.0])
)
BUILDS = st.builds(Builds, seconds=st.sampled_from([0.5, 0.0, 2.0, 10.0]), mended=st.booleans())
RESTARTS = st.builds(Restart, kill=st.booleans())
SETTLES = st.builds(Settle, collect=st.booleans())

# What stands here more than once happens more often.
HAPPENINGS = st.one_of(
    *[COMMITS] * 6, *[MOVES] * 2, DELETIONS,
    *[DELIVERIES] * 3, *[REDELIVERIES] * 2,
    *[DEPLOYS] * 2, ROLLBACKS, *[CANCELS] * 2, PAUSES,
    ABSENCES, BUILDS, *[RESTARTS] * 2, st.builds(Reload), *[SETTLES] * 2,
)  # fmt: skip
