"""The config that counts now. It has one owner, and a reload replaces it as a whole; everybody else reads it when they need it."""

from deployd.config.app import App
from deployd.config.daemon import Config


class Running:
    """Holds the config; what is derived from it is not kept anywhere."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def apps(self) -> tuple[App, ...]:
        """The configured apps."""
        return self.config.app

    def app(self, name: str) -> App | None:
        """One app by its name; None when it is not configured."""
        return self.config.find(name)
