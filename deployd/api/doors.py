"""The webhook doors of all forges, which share one limit for the bodies that they hold."""

from collections.abc import Mapping, Sequence

from prometheus_client import Counter

from deployd.api.not_kept import NotKeptList
from deployd.api.webhooks import Accept, Propose, WebhookDoor, bodies_of
from deployd.config.app import App
from deployd.forges.configured import FORGES, forges


class Doors:
    """One door for each forge. A forge without secrets takes no delivery for genuine."""

    def __init__(
        self,
        secrets: Mapping[str, Sequence[str]],
        accept: Accept,
        deliveries: Counter,
        *,
        propose: Propose,
        apps: Sequence[App],
        max_body: int,
        not_kept: NotKeptList | None = None,
    ) -> None:
        """`secrets` by the name of their forge; ConfigError when one of them can be none."""
        bodies, not_kept = bodies_of(max_body), not_kept or NotKeptList()
        self._doors = {
            forge.name: WebhookDoor(
                forge=forge,
                accept=accept,
                deliveries=deliveries,
                propose=propose,
                apps=apps,
                max_body=max_body,
                bodies=bodies,
                not_kept=not_kept,
            )
            for forge in forges(secrets)
        }

    @property
    def by_path(self) -> Mapping[str, WebhookDoor]:
        """The door at each path."""
        return {path: self._doors[forge.name] for forge in FORGES for path in forge.paths}

    def trust(self, secrets: Mapping[str, Sequence[str]]) -> None:
        """Accept these secrets from now on, and no others; ConfigError when one of them can be none."""
        for forge in forges(secrets):
            self._doors[forge.name].trust(forge)

    def follow(self, apps: Sequence[App]) -> None:
        """Use these apps from now on."""
        for door in self._doors.values():
            door.follow(apps)
