"""Micro-batching without delay: the requests that queue up while the model is busy are predicted in one call.

No request waits for others to come, so a lone caller loses no time. Calls run in one thread, off the event loop. If a merged
call fails, each request is tried alone, so a faulty request never costs another caller its prediction. Predictions are handed
out by position. Knows nothing of HTTP.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_service.model import Model, Prediction, Row


@dataclass(frozen=True, slots=True)
class _Request:
    rows: Sequence[Row]
    result: asyncio.Future[list[Prediction]]


class Batcher:
    """Merges requests to a model of which each call is costly; runs requests to other models one by one."""

    def __init__(self, model: Model, *, max_rows: int) -> None:
        self._model = model
        self._max_rows = max_rows if model.costly_calls else 0
        self._waiting: deque[_Request] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._worker: asyncio.Task[None] | None = None

    async def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each row. Raises what the model raises for these rows."""
        request = _Request(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await request.result

    async def close(self) -> None:
        """Waits until nothing is being predicted."""
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                outcomes = await loop.run_in_executor(self._thread, self._predict_batch, batch)
                for request, outcome in zip(batch, outcomes, strict=True):
                    _set_result(request.result, outcome)
        finally:
            self._worker = None

    def _next_batch(self) -> list[_Request]:
        """The waiting requests up to the limit of rows, without those whose caller has gone."""
        batch: list[_Request] = []
        rows = 0
        while self._waiting and (not batch or rows + len(self._waiting[0].rows) <= self._max_rows):
            request = self._waiting.popleft()
            if not request.result.done():
                batch.append(request)
                rows += len(request.rows)
        return batch

    def _predict_batch(self, batch: list[_Request]) -> list[list[Prediction] | Exception]:
        """One outcome for each request. Runs in the thread."""
        merged = self._call_model([row for request in batch for row in request.rows])
        if isinstance(merged, Exception):
            # Alone, only the faulty request fails again.
            return [merged] if len(batch) == 1 else [self._call_model(request.rows) for request in batch]
        predictions = iter(merged)
        return [[next(predictions) for _ in request.rows] for request in batch]

    def _call_model(self, rows: Sequence[Row]) -> list[Prediction] | Exception:
        try:
            predictions = self._model.predict(rows)
        except Exception as exc:  # noqa: BLE001  # it is raised again for the callers
            return exc
        if len(predictions) != len(rows):
            return RuntimeError(f"the model gave {len(predictions)} predictions for {len(rows)} rows")
        return predictions


def _set_result(result: asyncio.Future[list[Prediction]], outcome: list[Prediction] | Exception) -> None:
    if result.done():
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
