"""The interface of a sign of trouble, such as errors or restarts, for which a watch may revert a release."""

from typing import Protocol

from deployd.domain import GateResult


class Sign(Protocol):
    """Measures a release again and again, every `every` seconds. Each measurement may raise DeploydError: it is tried again."""

    name: str
    every: float

    async def measure(self) -> str:
        """Why the release cannot stay, with the figures; empty when nothing speaks against it."""
        ...

    def result(self) -> GateResult:
        """The findings so far, for the record."""
        ...
