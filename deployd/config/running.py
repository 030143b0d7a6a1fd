"""The config that counts now. A reload replaces it as a whole; everybody reads it when they need it."""

from collections.abc import Callable

from deployd.config.app import App
from deployd.config.daemon import Config


class Running:
    """Holds the config, and tells those who have to act when it is replaced."""

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
        """Call `act` with each config that comes, in the order in which they were added here."""
        self._told.append(act)

    def replace(self, config: Config) -> None:
        """From now on `config` counts."""
        self.config = config
        self._by_name = {app.name: app for app in config.app}
        for act in self._told:
            act(config)
