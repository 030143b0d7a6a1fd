"""A webhook delivery: what it says, and what came of it. Plain frozen data, as in domain.py."""

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
    """Several refs that one delivery tells of."""

    pushes: tuple[Push, ...]


class Proposal(Struct, frozen=True):
    """A pull request shows a commit that is to come into `ref`. `fork` is the repository that the commit is in, where that is not
    the one of the pull request itself."""

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

    Of a refused one only `peer`, the address of its sender, is known; of a genuine one the other fields, but of a ping or an
    event that is no push neither the repository nor the ref.
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
        """It was refused, not ignored."""
        return self.status != 200


class Owed(Struct, frozen=True):
    """A delivery that no look has answered yet. `id` grows with each delivery that is stored."""

    id: int
    guid: str
    commit: str

    @property
    def names_no_commit(self) -> bool:
        """It tells of a ref that was deleted, or of a model."""
        return not self.commit.strip("0")

    @property
    def of_model(self) -> bool:
        """It tells that the alias of a registered model has moved."""
        return not self.commit


class Outcome(Struct, frozen=True):
    """What came of a delivery for one app: the deploy's number, or why there is none.

    `looked_at` is None while the look is owed.
    """

    app: str
    looked_at: datetime | None = None
    commit: str | None = None
    number: int | None = None
    reason: str = ""


class Received(Struct, frozen=True):
    """A delivery that was accepted, and what came of it."""

    id: int
    delivery: Delivery
    received_at: datetime
    repository: str
    ref: str
    commit: str
    outcomes: tuple[Outcome, ...] = ()
