"""The part of `deployd check` about Podman: where it differs from a Docker Engine, and deployd can only say so."""

from collections.abc import Iterator

from deployd.check.finding import Finding
from deployd.config.daemon import Config

NO_NETWORK = (
    "Podman takes a network away with the last container that runs in it: while a release that is alone there is down, requests "
    "to it go wherever the host routes its address"
)


def limits(config: Config) -> Iterator[Finding]:
    """What a user of Podman has to know."""
    if any(app.target == "docker" and app.docker.network != "host" for app in config.app):
        hint = f"keep any other container running in the network deployd-{config.server.identity}"
        yield Finding("engine", "warning", NO_NETWORK, hint)
