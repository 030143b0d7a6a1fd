"""The goals of apps: the head that an app follows, the commit wanted from it, and what is known from earlier looks."""

from typing import Literal

from msgspec import Struct

from deployd.delivery import Owed

TriggerKind = Literal["push", "poll", "model", "manual", "rollback", "restart"]


class Trigger(Struct, frozen=True):
    """The origin of a deploy: a delivery's GUID, the poll, or a person's name. `model`: another version of the registered model,
    whether a delivery told of it or not. A restart that nobody asked for follows a changed config."""

    kind: TriggerKind
    delivery: str | None = None
    by: str | None = None

    @property
    def automatic(self) -> bool:
        """Whether a look asked for it, not a person."""
        return self.kind in {"push", "poll", "model"}


class ModelVersion(Struct, frozen=True):
    """A version of a model in a registry. `source` and `created` (milliseconds since 1970) tell it from another one of the same
    name and number: the numbers of a model that is deleted and registered again begin anew."""

    name: str
    version: str
    source: str
    created: int

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def short(self) -> str:
        """`iris v3`."""
        return f"{self.name} v{self.version}"

    @property
    def path(self) -> str:
        """`iris/3`, as in MLflow's `models:/iris/3`."""
        return f"{self.name}/{self.version}"


class Goal(Struct, frozen=True):
    """What an app should serve: a commit and, where it takes its model from a registry, a version of that."""

    commit: str
    registered: ModelVersion | None = None


class Head(Struct, frozen=True):
    """The remote's present state for an app: the full ref that it follows, the ref's commit, and the version of the registered
    model that its alias points to."""

    ref: str
    commit: str
    registered: ModelVersion | None = None

    @property
    def goal(self) -> Goal:
        """The goal of an app that follows this head."""
        return Goal(self.commit, self.registered)


class Wanted(Struct, frozen=True):
    """A commit that an app should serve, as a look or a person wants it; the store makes a Deploy of it."""

    app: str
    commit: str
    ref: str
    trigger: Trigger
    subject: str = ""
    author: str = ""
    target: str = "docker"
    rollback_to: int | None = None
    rebuild: bool = False
    prove: bool = False
    accept_changes: bool = False
    registered: ModelVersion | None = None

    @property
    def goal(self) -> Goal:
        """The goal: what the app should serve."""
        return Goal(self.commit, self.registered)


class Skip(Struct, frozen=True):
    """A head whose commit the app does not want, and why. `instead` is deployed: the commit before, with a new version of the
    model."""

    reason: str
    instead: Head | None = None


class Wait(Struct, frozen=True):
    """A head that is not decided upon yet, and why. `instead` is deployed meanwhile: see Skip."""

    reason: str
    instead: Head | None = None


class Known(Struct, frozen=True):
    """The memory of an app's earlier looks: the head that was decided upon last, the goal that was wanted last and its ref, the
    deliveries that owe it a look: the newest of them, oldest first; and the version of its model that was `seen` last, also when
    the head is to be decided upon anew."""

    decided: Goal | None = None
    wanted: Goal | None = None
    wanted_ref: str | None = None
    owed: tuple[Owed, ...] = ()
    seen: ModelVersion | None = None
