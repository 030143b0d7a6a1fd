"""The config that counts now. A reload replaces it as a whole; everybody reads it when they need it."""

from collections.abc import Callable
from typing import Any

from deployd.config.app import App
from deployd.config.daemon import Config

# Sections that are read only at the start, except for the keys in _AT_ONCE, which are read at each use.
_AT_START = ("server", "builder", "gateway", "git", "registry")
_AT_ONCE = {"server.base_url", "server.allowed_hosts", "server.trusted_proxies", "git.poll_every"}


class Running:
    """Holds the present config, and calls its listeners when it is replaced."""

    def __init__(self, config: Config) -> None:
        self._told: list[Callable[[Config], object]] = []
        self.replace(config)

    @property
    def apps(self) -> tuple[App, ...]:
        """The configured apps."""
        return self.config.app

    def app(self, name: str) -> App | None:
        """One app by its name; None when it is not configured."""
        return self._by_name.get(name)

    def tell(self, act: Callable[[Config], object]) -> None:
        """Call `act` with each new config; listeners are called in the order in which they were added."""
        self._told.append(act)

    def replace(self, config: Config) -> None:
        """Make `config` the present one, and tell the listeners."""
        self.config = config
        self._by_name = {app.name: app for app in config.app}
        for act in self._told:
            act(config)


def taken_up(old: Config, new: Config) -> tuple[Config, list[str]]:
    """The config to use after a reload, and the changed keys of `new` that need a restart and keep their old values."""
    sections: dict[str, Any] = {}
    waiting: list[str] = []
    for name in _AT_START:
        was, now = getattr(old, name), getattr(new, name)
        if was is None or now is None:
            sections[name] = was
            waiting += [name] if was != now else []
            continue
        changed = [key for key in type(now).model_fields if getattr(was, key) != getattr(now, key)]
        waiting += [f"{name}.{key}" for key in changed if f"{name}.{key}" not in _AT_ONCE]
        at_once = {key: getattr(now, key) for key in changed if f"{name}.{key}" in _AT_ONCE}
        sections[name] = was.model_copy(update=at_once)
    return new.model_copy(update=sections), waiting
