"""The data that a running deploy records besides its status: commit, target, image, gates, model."""

from collections.abc import Sequence
from typing import Any

from deployd.domain import Deploy, GateResult, Image
from deployd.store.rows import as_json, gates_json, image_json
from deployd.store.table import Table


class Records(Table):
    """Each method changes columns of the deploy's row."""

    async def record_image(self, deploy: Deploy, image: Image) -> None:
        """Record the image that was built; once pushed, with its digest."""
        await self._update(deploy, "image = ?", image_json(image))

    async def record_size(self, deploy: Deploy, size: int) -> None:
        """Record the bytes of the image."""
        await self._update(deploy, "image_size = ?", size)

    async def record_subject(self, deploy: Deploy, subject: str, author: str) -> None:
        """Record the commit's subject and author, when they were not known at queueing."""
        await self._update(deploy, "(subject, author) = (?, ?)", subject, author)

    async def record_target(self, deploy: Deploy, target: str) -> None:
        """Record the target, when it is not the one from queueing."""
        await self._update(deploy, "target = ?", target)

    async def record_gates(self, deploy: Deploy, gates: Sequence[GateResult]) -> None:
        """Record the results of the gates so far."""
        await self._update(deploy, "gates = ?", gates_json(gates))
        self._tell_gates(deploy, gates)

    async def record_model(self, deploy: Deploy, model: dict[str, Any]) -> None:
        """Record what the candidate reports about its model."""
        await self._update(deploy, "model = ?", as_json(model))

    async def _update(self, deploy: Deploy, change: str, *values: str | int) -> None:
        query = f"UPDATE deploys SET {change} WHERE app = ? AND number = ?"
        row = (*values, deploy.app, deploy.number)
        await self._write_until_done(lambda connection: connection.execute(query, row).rowcount)
