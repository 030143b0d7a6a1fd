"""The HTTP API as typed calls, each one request and its answer.

A refusal is a RequestRefused with the daemon's own words; a daemon that cannot be reached is Unavailable. Knows the API's
addresses and answers, and nothing of what is behind them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from deployd.address import default_url
from deployd.api.answers import (
    DeliveriesAnswer,
    DeliveryAnswer,
    DeployAnswer,
    DeploysAnswer,
    DiffAnswer,
    NotifyTestAnswer,
    PruneAnswer,
    ReloadAnswer,
    VersionAnswer,
)
from deployd.api.states import AppAnswer, AppsAnswer, DescribeAnswer, PlanAnswer, TrafficAnswer
from deployd.asking import Asking


class Calls:
    """Asks the daemon at `url` (`unix://PATH`, http or https); use as an async context manager."""

    def __init__(self, url: str | None, token: str | None) -> None:
        self._asking = Asking(default_url() if url is None else url, token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._asking.close()

    async def apps(self) -> list[AppAnswer]:
        """Every app."""
        return (await self._asking.get(AppsAnswer, "/api/v1/apps")).apps

    async def app(self, app: str) -> AppAnswer:
        """One app."""
        return await self._asking.get(AppAnswer, path_of(app))

    async def traffic(self, app: str, last: str = "1h") -> TrafficAnswer:
        """The traffic that the gateway counted for an app."""
        return await self._asking.get(TrafficAnswer, path_of(app, "traffic"), {"last": last})

    async def history(self, app: str, limit: int = 50, before: int | None = None) -> DeploysAnswer:
        """The app's deploys, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._asking.get(DeploysAnswer, path_of(app, "deploys"), asked)

    async def show(self, app: str, number: int) -> DeployAnswer:
        """One deploy with its steps."""
        return await self._asking.get(DeployAnswer, path_of(app, "deploys", number))

    async def report(self, app: str, number: int) -> str:
        """The whole record of a deploy, as one page in Markdown."""
        async with self._asking.stream("GET", path_of(app, "deploys", number, "report"), "text/markdown") as response:
            return b"".join([block async for block in response.aiter_bytes()]).decode()

    async def deploy(
        self, app: str, commit: str | None = None, *, rebuild: bool = False, accept_changes: bool = False
    ) -> DeployAnswer:
        """Ask for a deploy of a SHA, branch or tag; None means the head of what the app watches. `rebuild`: build it anew;
        `accept_changes`: other predictions are expected."""
        asked = {"commit": commit, "rebuild": rebuild} | ({"accept_changes": True} if accept_changes else {})
        return await self._asking.post(DeployAnswer, path_of(app, "deploys"), asked)

    async def prove(self, app: str, commit: str | None = None, *, rebuild: bool = False) -> DeployAnswer:
        """Ask that all gates are asked of a SHA, branch or tag, and that it is never switched to."""
        body = {"commit": commit, "rebuild": rebuild, "prove": True}
        return await self._asking.post(DeployAnswer, path_of(app, "deploys"), body)

    async def rollback(self, app: str, to: int | None = None) -> DeployAnswer:
        """Ask to go back to release `to`, or to the one before."""
        return await self._asking.post(DeployAnswer, path_of(app, "rollback"), {"to": to})

    async def restart(self, app: str) -> DeployAnswer:
        """Ask to roll the present config out with the image of the live release."""
        return await self._asking.post(DeployAnswer, path_of(app, "restart"))

    async def cancel(self, app: str, number: int) -> DeployAnswer:
        """Stop a deploy."""
        return await self._asking.post(DeployAnswer, path_of(app, "deploys", number, "cancel"))

    async def pause(self, app: str) -> AppAnswer:
        """Let the app's deploys wait."""
        return await self._asking.post(AppAnswer, path_of(app, "pause"))

    async def resume(self, app: str) -> AppAnswer:
        """Take them up again."""
        return await self._asking.post(AppAnswer, path_of(app, "resume"))

    async def scale(self, app: str, replicas: int) -> AppAnswer:
        """Let so many copies run."""
        return await self._asking.post(AppAnswer, path_of(app, "scale"), {"replicas": replicas})

    async def describe(self, app: str) -> DescribeAnswer:
        """The app with its containers or pods."""
        return await self._asking.get(DescribeAnswer, path_of(app, "describe"))

    async def plan(self, app: str, commit: str | None = None) -> PlanAnswer:
        """What deploying `commit` would do; None means the head of what the app follows."""
        return await self._asking.get(PlanAnswer, path_of(app, "plan"), {"commit": commit} if commit else {})

    async def version(self) -> VersionAnswer:
        """The version of the daemon."""
        return await self._asking.get(VersionAnswer, "/")

    async def delivery(self, guid: str) -> DeliveryAnswer:
        """The outcome of a delivery, by its forge's GUID."""
        return await self._asking.get(DeliveryAnswer, f"/api/v1/deliveries/{quote(guid, safe='')}")

    async def deliveries(self, limit: int = 50, before: int | None = None) -> DeliveriesAnswer:
        """The accepted deliveries, newest first."""
        asked = {"limit": limit} | ({"before": before} if before is not None else {})
        return await self._asking.get(DeliveriesAnswer, "/api/v1/deliveries", asked)

    async def diff(self, app: str, before: int, after: int) -> DiffAnswer:
        """What differs between two deploys."""
        return await self._asking.get(DiffAnswer, path_of(app, "diff"), {"before": before, "after": after})

    async def remove(self, app: str) -> None:
        """Remove an app that is no longer in the config from its target."""
        await self._asking.ask("DELETE", path_of(app))

    async def prune(self, app: str | None = None, *, dry_run: bool = False) -> PruneAnswer:
        """Remove what is beyond the retention, or say what would go."""
        return await self._asking.post(PruneAnswer, "/api/v1/prune", {"app": app, "dry_run": dry_run})

    async def notify_test(self) -> NotifyTestAnswer:
        """Let the daemon send a message to every URL of its [notify]; what became of each."""
        return await self._asking.post(NotifyTestAnswer, "/api/v1/notify/test")

    async def reload(self) -> ReloadAnswer:
        """Let the daemon read its config again; the names of its apps, and what takes a restart."""
        return await self._asking.post(ReloadAnswer, "/api/v1/reload")

    async def ready(self) -> Mapping[str, str]:
        """Part -> `ok`, `warning: ...`, or what is wrong with it."""
        return await self._asking.parts()

    async def backup(self, to: Path) -> int:
        """Write a copy of the daemon's state to `to`; its size in bytes. An existing file is replaced when all has come."""
        part = to.with_name(f"{to.name}.part")
        size = 0
        async with self._asking.stream("GET", "/api/v1/backup", "application/vnd.sqlite3") as response:
            with _opened(part, to) as file:
                async for block in response.aiter_bytes():
                    size += file.write(block)
        part.replace(to)
        return size


def path_of(app: str, *more: str | int) -> str:
    """Where something of an app is."""
    return "/".join(["/api/v1/apps", quote(app, safe=""), *map(str, more)])


def _opened(part: Path, to: Path) -> BinaryIO:
    """The file `part`, which becomes `to` when it is complete; an error names the latter."""
    try:
        return part.open("wb")
    except OSError as exc:
        exc.filename = str(to)
        raise
