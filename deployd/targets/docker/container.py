"""One container of an app: its addresses, its name, and the errors that the engine's refusals become."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.engine.connection import Refused
from deployd.errors import RolloutFailed
from deployd.gateway.slots import Endpoint
from deployd.targets.docker.refusals import meaning

# The last are Podman's.
_REMOVED = ("marked for removal", "No such container", "no container with")


@dataclass(frozen=True, slots=True)
class AppContainer:
    """A container of an app. `endpoint`: where HAProxy reaches it; None when it does not run or is not in our network."""

    id: str
    name: str
    number: int
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs. `endpoint`: where HAProxy reaches it; `address`: its base URL for deployd."""

    id: str
    number: int
    endpoint: Endpoint
    address: str


class ContainerRemoved(RolloutFailed):
    """Somebody removed a container of ours while deployd was about to use it."""


@contextmanager
def present() -> Iterator[None]:
    """ContainerRemoved when the engine has no such container any more, or is just removing it."""
    try:
        yield
    except Refused as refused:
        if any(words in refused.said for words in _REMOVED):
            raise ContainerRemoved("somebody removed its container meanwhile") from refused
        raise


@contextmanager
def failing(app: App) -> Iterator[None]:
    """Turn a refusal of the engine into a fault of the config if its message names one, else into RolloutFailed: trying again
    would not help."""
    try:
        with present():
            yield
    except Refused as refused:
        raise (meaning(app, refused.said) or RolloutFailed(refused.message)) from refused


def name_of(found: Mapping[str, Any]) -> str:
    """The name of a listed (`Names`) or inspected (`Name`) container."""
    name: str = found["Names"][0] if "Names" in found else found["Name"]
    return name.removeprefix("/")


def not_made(name: str, deploy: Deploy, refused: Refused) -> Exception:
    """The error for a container that was not created."""
    if refused.status == 404:
        gone = f"the image of {deploy.name} is no longer on the engine"
        return RolloutFailed(gone, hint="deploy its commit again")
    if refused.status == 409:
        return RolloutFailed(
            f"the container {name} exists, but this deployd did not make it",
            hint=f"remove or rename it: docker rename {name} OTHER",
        )
    return refused
