"""The gateway listens for every app, also for one without a release: a request to it gets a 503."""

from deployd.config.app import App
from deployd.errors import RolloutFailed
from deployd.gateway.gateway import Gateway


class Frontends:
    """The listeners of the configured `apps`. `unheard`: the apps for which the gateway cannot listen, and why."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.apps: tuple[App, ...] = ()
        self.unheard: dict[str, RolloutFailed] = {}

    async def listen(self) -> None:
        """Listen for every app. An app whose port is taken by another program does not affect the others."""
        try:
            await self._gateway.ensure(self.apps)
        except RolloutFailed:
            self.unheard = {app.name: exc for app in self.apps if (exc := self.unheard.get(app.name)) is not None}
            for app in self.apps:
                await self._listen_for(app)
        else:
            self.unheard = {}

    def raise_if_unheard(self) -> None:
        """Raise why the gateway does not listen for an app, if there is one."""
        if self.unheard:
            raise next(iter(self.unheard.values()))

    async def _listen_for(self, app: App) -> None:
        try:
            await self._gateway.ensure([app])
        except RolloutFailed as exc:
            self.unheard[app.name] = exc
        else:
            self.unheard.pop(app.name, None)
