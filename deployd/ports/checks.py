"""The interface to a forge's checks of a commit."""

from typing import Protocol

from deployd.config.app import App


class Checks(Protocol):
    """The checks and statuses of commits, on the forge that an app's repository is on."""

    async def why_not_green(self, app: App, commit: str) -> str:
        """Why the commit's checks are not all green, or cannot be asked for; empty when they are."""
        ...
