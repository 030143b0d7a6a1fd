"""The interface of a reporter, which tells a service outside how deploys go. It may fail in two ways, and knows nothing of the
outbox."""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from deployd.errors import DeploydError
from deployd.status import Status
from deployd.store.outbox import Report


class Told(Struct, frozen=True):
    """The outcome of a report: the text that was sent, and its address outside. `said` is empty where nothing had to be sent."""

    remote: str | None = None
    said: str | None = None


class Later(DeploydError):
    """The other side cannot take anything now: send nothing for `seconds`. None: wait longer each time; at first a minute, when
    deployd is `limited`."""

    def __init__(self, message: str, *, seconds: float | None = None, limited: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds
        self.limited = limited


class Refused(DeploydError):
    """The other side will not take this from us before a person changes something; with `forever` not even then.

    `everything`: it takes nothing of ours, whatever the app."""

    def __init__(self, message: str, *, hint: str = "", everything: bool = False, forever: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.everything = everything
        self.forever = forever


class Reporter(Protocol):
    """Tells one place outside. `name` is that of its rows in the outbox, `statuses` what it is told of, and `patience` for how
    many seconds a report is worth sending."""

    @property
    def name(self) -> str: ...
    @property
    def statuses(self) -> Collection[Status]: ...
    @property
    def patience(self) -> float: ...

    async def tell(self, report: Report) -> Told:
        """Tell it, in the state that the deploy has now. Raises Later, Refused or Unavailable."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
