"""The memory of deployd, by table: which deliveries were accepted, what was decided, what became of it, what serves.

Every method is one short transaction. `accept` fails at once when the disk refuses (the forge shall see a failed delivery).
"""

from pathlib import Path

from deployd.store.apps import Apps
from deployd.store.deliveries import Deliveries
from deployd.store.deploys import Deploys
from deployd.store.steps import Steps


class Store(Deliveries, Deploys, Steps, Apps):
    """All tables of one database."""

    async def ping(self) -> None:
        """A write would be taken; else Unavailable, as while another process holds the database."""
        await self._database.write(lambda _: None)

    async def backup(self, to: Path) -> None:
        """Copy the whole database to a file while it is in use."""
        await self._database.backup(to)
