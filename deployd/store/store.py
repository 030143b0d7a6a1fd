"""The store of deployd: deliveries, decisions, deploys, their steps and what they made, logins, acts; a module for each subject.

Most subjects have tables of their own. `records`, `releases`, `reruns` and `proposals` have none: they write those of `deploys`
and `apps`. A look has a table but no module: `apps` writes it, `deliveries` reads it and deletes what is old.

Every method is one short transaction. `accept` fails at once when the disk refuses, so that the forge sees a failed delivery.
"""

from pathlib import Path

from deployd.store.acts import Acts
from deployd.store.apps import Apps
from deployd.store.builds import Builds
from deployd.store.containers import Containers
from deployd.store.deliveries import Deliveries
from deployd.store.deploys import Deploys
from deployd.store.models import Models
from deployd.store.outbox import Outbox
from deployd.store.proposals import Proposals
from deployd.store.records import Records
from deployd.store.releases import Releases
from deployd.store.reruns import Reruns
from deployd.store.sessions import Sessions
from deployd.store.steps import Steps
from deployd.store.traffic import Traffic


class Store(
    Deliveries,
    Deploys,
    Proposals,
    Records,
    Steps,
    Apps,
    Releases,
    Reruns,
    Containers,
    Builds,
    Traffic,
    Outbox,
    Sessions,
    Acts,
    Models,
):
    """All tables of one database."""

    async def ping(self) -> None:
        """Check that the database can be written; raises Unavailable, for example while another process locks it."""
        await self._database.write(lambda _: None)

    async def backup(self, to: Path) -> None:
        """Write a copy of the whole database to a file, while it is in use."""
        await self._database.backup(to)
