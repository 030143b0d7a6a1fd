"""The state of one worker: the loaded model, the limits on its use, and whether the worker is shutting down.

The routes share it. It knows nothing of ASGI or HTTP but the status of a rejection.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from model_service.batching import Batcher
from model_service.errors import RequestRejected
from model_service.golden import FILE as GOLDEN_FILE
from model_service.golden import check_golden, example_rows
from model_service.manifest import Manifest
from model_service.metrics import Metrics
from model_service.model import Model, Prediction, Row, load
from model_service.open_inference import OpenInference
from model_service.rows import RowReader
from model_service.settings import Settings

log = logging.getLogger(__name__)


class Service:
    """A model and its limits. It is ready between the end of `load` and the moment when `draining` is set."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.manifest = Manifest.read(settings.dir)
        self.rows = RowReader(self.manifest, max_rows=settings.max_rows)
        self.protocol = OpenInference(self.manifest, self.rows)
        self.metrics = Metrics(self.manifest, commit=self.commit, shared=settings.metrics_file)
        self.examples: list[Any] = []  # rows of the golden cases
        self.model: Model | None = None
        self.draining = False
        self.exit_deadline = 0.0  # on the monotonic clock
        self._batcher: Batcher | None = None

    @property
    def commit(self) -> str | None:
        """The commit that is served: the one that the image was built for, or else the one that the model was trained at."""
        return self.settings.commit or self.manifest.commit

    def card(self) -> str:
        """The model card; empty if there is none. In an image training knows no commit, so the service adds it."""
        try:
            text = (self.settings.dir / "MODEL.md").read_text()
        except OSError:
            return ""
        return text.replace("from commit unknown", f"from commit {self.commit}", 1) if self.commit else text

    @property
    def why_not_ready(self) -> str | None:
        """The reason why the service is not ready; None when it is."""
        if self.draining:
            return "shutting down"
        return "the model is loading" if self.model is None else None

    async def load(self) -> None:
        """Loads the model and checks its golden predictions, in a thread. Raises ModelRejected."""
        started = time.perf_counter()
        model, cases, self.examples = await asyncio.to_thread(self._load)
        self._batcher = Batcher(model, max_rows=self.settings.batch_rows)
        self.model = model
        log.info(
            "Ready: %s %s, %d golden cases, loaded in %.3f s",
            self.manifest.name,
            self.manifest.version,
            cases,
            time.perf_counter() - started,
        )

    def predict_at_once(self, rows: Sequence[Row]) -> list[Prediction] | None:
        """One prediction for each checked row; None if that would hold up the event loop.

        Raises RequestRejected: 503 while the model is loading, 422 when it has no prediction for a row.
        """
        model = self.model
        if model is None:
            raise RequestRejected(503, "the model is loading", retry_after=1)
        return model.predict(rows) if len(rows) <= model.quick_rows else None

    async def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each checked row, computed in a thread.

        Raises RequestRejected: 503 while the model is loading, 504 after the time limit, 422 when it has no prediction for a
        row.
        """
        if self._batcher is None:
            raise RequestRejected(503, "the model is loading", retry_after=1)
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._batcher.predict(rows)
        except TimeoutError as exc:
            raise RequestRejected(504, f"no answer within {self.settings.timeout:g} s") from exc

    async def close(self, within: float | None = None) -> bool:
        """Writes the last counts; returns False if the model is still busy after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                if self._batcher is not None:
                    await self._batcher.close()
        except TimeoutError:
            return False
        finally:
            self.metrics.close()
        return True

    def _load(self) -> tuple[Model, int, list[Any]]:
        settings = self.settings
        model = load(settings.dir, pickle_sha256=settings.allow_pickle, trusted=settings.trust)
        golden = self.manifest.read_file(settings.dir, GOLDEN_FILE)
        return model, check_golden(model, golden), example_rows(golden)
