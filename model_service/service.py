"""One worker's state: the model once it is loaded and proven, its limits, and whether it is on its way out.

What the routes share. Knows nothing of ASGI or HTTP but the status of a rejection.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from model_service.batching import Batcher
from model_service.errors import RequestRejected
from model_service.golden import FILE as GOLDEN_FILE
from model_service.golden import check_golden
from model_service.manifest import Manifest
from model_service.meters import Meters
from model_service.model import Answer, Model, Row, load
from model_service.rows import RowReader
from model_service.settings import Settings
from model_service.v2 import Protocol

log = logging.getLogger(__name__)


class Service:
    """A model behind its limits. Until `load` is done, and once `draining` is set, it is not ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.manifest = Manifest.read(settings.dir)
        self.rows = RowReader(self.manifest, max_rows=settings.max_rows)
        self.protocol = Protocol(self.manifest, self.rows)
        self.meters = Meters(self.manifest, commit=self.commit, shared=settings.meters)
        self.model: Model | None = None
        self.draining = False
        self.leave_by = 0.0  # on the monotonic clock
        self._batcher: Batcher | None = None

    @property
    def commit(self) -> str | None:
        """The commit that is served: what the image was built for, else what the model was trained from."""
        return self.settings.commit or self.manifest.commit

    @property
    def unready(self) -> str | None:
        """Why the service is not ready; None when it is."""
        if self.draining:
            return "shutting down"
        return "the model is loading" if self.model is None else None

    async def load(self) -> None:
        """Loads the model and replays its golden predictions, beside the event loop. Raises ModelRejected."""
        started = time.perf_counter()
        model, cases = await asyncio.to_thread(self._load)
        self._batcher = Batcher(model, max_rows=self.settings.batch_rows)
        self.model = model
        log.info(
            "Ready: %s %s, %d golden cases, loaded in %.3f s",
            self.manifest.name,
            self.manifest.version,
            cases,
            time.perf_counter() - started,
        )

    def predict_quickly(self, rows: Sequence[Row]) -> list[Answer] | None:
        """One answer for each checked row; None where that would hold up the event loop.

        Raises RequestRejected: 503 while loading, 422 where the model has no answer.
        """
        model = self.model
        if model is None:
            raise RequestRejected(503, "the model is loading", retry_after=1)
        return model.answers(rows) if len(rows) <= model.quick_rows else None

    async def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each checked row, computed beside the event loop.

        Raises RequestRejected: 503 while loading, 504 after the time limit, 422 where the model has no answer.
        """
        if self._batcher is None:
            raise RequestRejected(503, "the model is loading", retry_after=1)
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._batcher.answers(rows)
        except TimeoutError as exc:
            raise RequestRejected(504, f"no answer within {self.settings.timeout:g} s") from exc

    async def close(self, within: float | None = None) -> bool:
        """Leaves the last counts to the other workers; False if the model was still busy after so many seconds."""
        try:
            async with asyncio.timeout(within):
                if self._batcher is not None:
                    await self._batcher.close()
        except TimeoutError:
            return False
        finally:
            self.meters.close()
        return True

    def _load(self) -> tuple[Model, int]:
        settings = self.settings
        model = load(settings.dir, pickle_sha256=settings.allow_pickle, trusted=settings.trust)
        return model, check_golden(model, self.manifest.checked(settings.dir, GOLDEN_FILE))
