"""The config that counts now. A reload replaces it as a whole; everybody reads it when they need it.

Those who must act on a new config at once listen here. What can fail is prepared first, so a refused config changes nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from deployd.config.app import App
from deployd.config.daemon import Config

_Made = TypeVar("_Made")

# Sections that are read only at the start, except for the keys in _AT_ONCE, which are read at each use.
_AT_START = ("server", "builder", "gateway", "git", "registry")
_AT_ONCE = {"server.base_url", "server.allowed_hosts", "server.trusted_proxies", "git.poll_every"}


class Running:
    """Holds the present config, and calls its listeners when it is replaced."""

    def __init__(self, config: Config) -> None:
        self._told: list[Callable[[Config], Callable[[], object]]] = []
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
        self._told.append(lambda config: partial(act, config))

    def tell_prepared(self, prepare: Callable[[Config], _Made], use: Callable[[_Made], object]) -> None:
        """Listen in two steps, where taking up a config may fail: `prepare` gets a new config before it counts, and may refuse it
        with ConfigError. `use` gets what `prepare` returned, once the config counts."""
        self._told.append(lambda config: partial(use, prepare(config)))

    def replace(self, config: Config) -> None:
        """Make `config` the present one, and tell the listeners. ConfigError when one refuses it: then nothing changes."""
        acts = [prepare(config) for prepare in self._told]
        self.config = config
        self._by_name = {app.name: app for app in config.app}
        for act in acts:
            act()


def taken_up(old: Config, new: Config) -> tuple[Config, list[str]]:
    """The config to use after a reload, and the changed keys of `new` that need a restart and keep their old values."""
    sections: dict[str, Any] = {}
    needs_restart: list[str] = []
    for name in _AT_START:
        was, now = getattr(old, name), getattr(new, name)
        if was is None or now is None:
            sections[name] = was
            needs_restart += [name] if was != now else []
            continue
        changed = [key for key in type(now).model_fields if getattr(was, key) != getattr(now, key)]
        needs_restart += [f"{name}.{key}" for key in changed if f"{name}.{key}" not in _AT_ONCE]
        at_once = {key: getattr(now, key) for key in changed if f"{name}.{key}" in _AT_ONCE}
        sections[name] = was.model_copy(update=at_once)
    return new.model_copy(update=sections), needs_restart
