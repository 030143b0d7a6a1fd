"""Base images are pulled before a build that asks for it, so that a patched base is taken up.

A base image that cannot be pulled is used as the builder has it, and the log says so: it may never have come from a registry.
"""

from collections.abc import Awaitable, Callable, Iterable

from deployd.config.daemon import Registry
from deployd.errors import DeploydError
from deployd.ports.log import Log


async def pull_all(names: Iterable[str], pull: Callable[[str], Awaitable[object]], log: Log) -> None:
    """Pull each base image that can be pulled, except those named by digest: they cannot change."""
    for name in names:
        if "@" in name:
            continue
        try:
            await pull(name)
        except DeploydError as exc:
            log.write(f"cannot pull the base image {name}, so the one that is there is used: {exc.message}\n")
        else:
            log.write(f"pulled the base image {name}\n")


def login_for(name: str, registry: Registry | None, password: str | None) -> tuple[str, str] | None:
    """The credentials of `[registry]` for an image that is in that registry."""
    if registry is None or registry.username is None or password is None:
        return None
    host = registry.prefix.split("/")[0]
    return (registry.username, password) if name.startswith(f"{host}/") else None
