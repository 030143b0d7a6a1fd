"""A webhook delivery: its content and its outcome. Plain frozen data, as in domain.py."""

from datetime import datetime

from msgspec import Struct


class Delivery(Struct, frozen=True):
    """One webhook POST, known by its forge's GUID."""

    forge: str
    guid: str
    event: str


class Push(Struct, frozen=True):
    """One parsed push event: the ref of the repository has moved to `commit`, or was deleted.

    `repository` is its host and full path in lower case (`github.com/acme/iris`), `ref` is full (`refs/heads/main`). Of a
    registered model that has moved they are its name and the alias (`@champion`), and `commit` is empty.
    `aliases` are the names that it has by its other addresses. A hint: what is deployed is read from the repository itself.
    """

    repository: str
    ref: str
    commit: str
    deleted: bool = False
    aliases: tuple[str, ...] = ()


class Pushes(Struct, frozen=True):
    """The pushes of several refs in one delivery."""

    pushes: tuple[Push, ...]


class Followed(Struct, frozen=True):
    """A push, and the names of the apps that follow its ref."""

    push: Push
    apps: tuple[str, ...]


class Proposal(Struct, frozen=True):
    """The commit of a pull request into `ref`. `fork` is the commit's repository, where it is not that of the pull request."""

    repository: str
    number: int
    ref: str
    commit: str
    title: str = ""
    author: str = ""
    fork: str | None = None


class Moved(Struct, frozen=True):
    """An alias of a registered model points to another version, or to none. A hint, like a push."""

    model: str
    alias: str


class Ping(Struct, frozen=True):
    """The forge asks whether we are there."""


class Ignored(Struct, frozen=True):
    """A genuine event that deploys nothing, and why."""

    reason: str


class NotKept(Struct, frozen=True):
    """A webhook request that was answered with `status` and not stored, and why.

    A refused request has only `peer`, its sender's address. A genuine one has the other fields, but a ping or an event that is no
    push has neither repository nor ref.
    """

    at: datetime
    forge: str
    status: int
    reason: str
    peer: str = ""
    event: str = ""
    guid: str = ""
    repository: str = ""
    ref: str = ""

    @property
    def refused(self) -> bool:
        """Whether it was refused, not ignored."""
        return self.status != 200


class Owed(Struct, frozen=True):
    """A delivery that no look has answered yet. `id` grows with each delivery that is stored."""

    id: int
    guid: str
    commit: str

    @property
    def names_no_commit(self) -> bool:
        """Whether it is about a deleted ref or a model, and so has no commit."""
        return not self.commit.strip("0")

    @property
    def of_model(self) -> bool:
        """Whether it says that the alias of a registered model has moved."""
        return not self.commit


class Outcome(Struct, frozen=True):
    """The result of a delivery for one app: the deploy's number, or the reason why there is none.

    `looked_at` is None while the remote has still to be asked.
    """

    app: str
    looked_at: datetime | None = None
    commit: str | None = None
    number: int | None = None
    reason: str = ""


class Received(Struct, frozen=True):
    """An accepted delivery with its outcomes. `followed`, never empty: the pushes that it tells of, each app in one of them."""

    id: int
    delivery: Delivery
    received_at: datetime
    followed: tuple[Followed, ...]
    outcomes: tuple[Outcome, ...] = ()

    def push_for(self, app: str) -> Push:
        """What it tells of the ref that one of its apps follows."""
        return next((one.push for one in self.followed if app in one.apps), self.followed[0].push)
