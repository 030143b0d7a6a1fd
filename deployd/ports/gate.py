"""The interface of gates: the proofs that a candidate must give before it gets traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Image
from deployd.ports.log import Log
from deployd.ports.source import Context


@dataclass(frozen=True, slots=True)
class Serving:
    """The release that has the app's traffic while a candidate is proven. `number`: its deploy, 0 when it ran before deployd;
    `address`: its base URL for deployd."""

    number: int
    address: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new release that runs but gets no traffic yet. `address`: its base URL for deployd; `headers`: those to ask it, and what
    serves, with. `live`: what serves meanwhile; None when nothing does."""

    app: App
    deploy: Deploy
    address: str
    image: Image
    headers: Mapping[str, str] = field(default_factory=dict)
    live: Serving | None = None


class Gate(Protocol):
    """A proof asked of a candidate before it gets traffic.

    One that is an async context manager is entered when the build begins, so that what it needs gets ready meanwhile.
    """

    name: str

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Try until there is a verdict. The target notices when the candidate dies, and cancels the gates."""
        ...
