"""Ask the engine whether it takes an app's options, before anything is built: with a container that never runs the app.

The engine knows best what it can do, so deployd does not guess: it asks for a container with the app's options, of the gateway's
image, whose program does not exist. An engine that gets as far as to miss the program takes everything else. Named volumes are
left out, since the engine would make them, and names of users and groups, which only the image of the app knows. An app with no
options of its own asks nothing.
"""

import secrets
import time
from typing import Any

from deployd.config.app import App
from deployd.config.docker import DockerApp
from deployd.domain import part_labels
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import ConfigError
from deployd.targets.docker.refusals import meaning
from deployd.targets.docker.spec import host_config
from deployd.targets.docker.unheeded import unheeded
from deployd.tasks import uninterrupted

_PROGRAM = "/deployd-trial"
_HOST = "host"
# The engine judges these when it makes a container; all others only when it starts one.
_JUDGED_AT_ONCE = frozenset({"Mounts", "Memory", "NanoCpus", "PidsLimit", "Init", "ReadonlyRootfs"})


class Trial:
    """Trials of one instance. `image`: any image that the engine has. A trial that was killed is removed `forgotten_s` later."""

    def __init__(self, engine: EngineClient, instance: str, image: str, *, forgotten_s: float = 60.0) -> None:
        self._forgotten_s = forgotten_s
        self._engine = engine
        self._labels = part_labels(instance, "trial")
        self._name = f"deployd-trial-{instance}"
        self._image = image
        self._passed: set[str] = set()

    async def of(self, app: App) -> bool:
        """ConfigError when the engine does not take the options of the app. False when that cannot be tried without the image.

        Options that have passed are not asked again.
        """
        network = app.docker.network
        if network not in {None, _HOST} and await self._engine.networks.find(str(network)) is None:
            raise ConfigError(
                f"app.{app.name}.docker.network: this engine has no network {network}",
                hint=f"docker network create {network}",
            )
        wanted = self._wanted(app.docker)
        if not wanted or repr(wanted) in self._passed:
            return True
        if await self._engine.is_podman() and (fault := unheeded(app, (await self._engine.info())["NCPU"])) is not None:
            raise fault
        if await self._engine.images.inspect(self._image) is None:
            return False
        await uninterrupted(self._try(app, wanted))
        self._passed.add(repr(wanted))
        return True

    def _wanted(self, docker: DockerApp) -> dict[str, Any]:
        """The options that differ from those of every app."""
        usual = host_config(DockerApp(), "")
        found = {key: value for key, value in host_config(docker, "").items() if usual.get(key) != value}
        found.pop("Binds", None)
        found["GroupAdd"] = [group for group in docker.group_add if group.isdecimal()]  # a name is the image's
        return {key: value for key, value in found.items() if value != []}

    async def _try(self, app: App, wanted: dict[str, Any]) -> None:
        await self._remove_forgotten()
        mode = _HOST if app.docker.network == _HOST else "none"
        spec = {
            "Image": self._image,
            "Entrypoint": [_PROGRAM],
            "Labels": self._labels,
            "HostConfig": {**wanted, "NetworkMode": mode, "RestartPolicy": {"Name": "no"}},
        }
        container = None
        try:
            container = await self._engine.containers.create(f"{self._name}-{secrets.token_hex(4)}", spec)
            if wanted.keys() - _JUDGED_AT_ONCE:
                await self._engine.containers.start(container)
        except Refused as refused:
            if _PROGRAM not in refused.said:
                raise _fault(app, refused.said) from refused
        finally:
            if container is not None:
                await self._engine.containers.remove(container)

    async def _remove_forgotten(self) -> None:
        """Remove the container of a trial that was killed."""
        for found in await self._engine.containers.list(self._labels):
            named = found["Names"][0].startswith(f"/{self._name}-")
            if named and time.time() - found["Created"] > self._forgotten_s:
                await self._engine.containers.remove(found["Id"])


def _fault(app: App, said: str) -> ConfigError:
    unknown = ConfigError(
        f"app.{app.name}.docker: the engine refuses these options: {said}", hint="change [app.docker]"
    )
    return meaning(app, said) or unknown
