"""What a watch looks at: one sign each, such as errors or restarts, on which a release can be sent away."""

from typing import Protocol

from deployd.domain import GateResult


class Sign(Protocol):
    """Looks at a release again and again, every `every` seconds. Each look may raise DeploydError: it is tried again."""

    name: str
    every: float

    async def look(self) -> str:
        """Why the release cannot stay, with the figures; empty when nothing speaks against it."""
        ...

    def result(self) -> GateResult:
        """What was found so far, for the record."""
        ...
