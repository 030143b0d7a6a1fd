"""Micro-batching without delay: the requests that queue up while the model is busy are predicted in one call.

No request waits for others to come, so a lone caller loses no time. Calls run in one thread, off the event loop. A request of
many rows is predicted in slices, and the other requests have their turns in between: nobody waits for another caller's rows.
A request whose caller has gone is not continued. If a merged call fails, each request is tried alone, so a faulty request never
costs another caller its prediction. Predictions are handed out by position. Knows nothing of HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from model_service.errors import RowRefused
from model_service.model import Model, Prediction, Row

# A call of the model should take about this long: a slice grows while it takes half of it, and shrinks when it takes twice. It is
# the thread's own time: on a busy machine, smaller slices would only make more calls.
SLICE_SECONDS = 0.05
LEAST_SLICE, MOST_SLICE = 16, 1 << 16  # rows


@dataclass(slots=True)
class _Request:
    """A request in progress, with its predictions so far."""

    rows: Sequence[Row]
    result: asyncio.Future[list[Prediction]]
    predictions: list[Prediction] = field(default_factory=list)

    def left(self) -> int:
        return len(self.rows) - len(self.predictions)

    def slice(self, most: int) -> Sequence[Row]:
        """The next rows to predict."""
        start = len(self.predictions)
        return self.rows if not start and len(self.rows) <= most else self.rows[start : start + most]


class Batcher:
    """Merges requests to a model of which each call is costly; runs requests to other models one by one."""

    def __init__(self, model: Model, *, max_rows: int) -> None:
        self._model = model
        self._max_rows = max_rows if model.costly_calls else 0
        self._slice = max(LEAST_SLICE, max_rows)
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
                    self._settle(request, outcome)
        finally:
            self._worker = None

    def _settle(self, request: _Request, outcome: list[Prediction] | Exception) -> None:
        """Hands out an outcome, or lets the request wait for its next turn."""
        if request.result.done():
            return
        if isinstance(outcome, Exception):
            request.result.set_exception(outcome)
            return
        request.predictions += outcome
        if request.left():
            self._waiting.append(request)
        else:
            request.result.set_result(request.predictions)

    def _next_batch(self) -> list[_Request]:
        """The waiting requests up to the limit of rows, without those whose caller has gone. A large one has a turn alone."""
        batch: list[_Request] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].left() <= self._max_rows):
            request = self._waiting.popleft()
            if not request.result.done():
                batch.append(request)
                rows += request.left()
        return batch

    def _predict_batch(self, batch: list[_Request]) -> list[list[Prediction] | Exception]:
        """One outcome for each request. Runs in the thread."""
        if len(batch) == 1:
            return [self._predict_alone(batch[0], self._slice)]
        merged = self._call_model([row for request in batch for row in request.slice(request.left())])
        if isinstance(merged, Exception):
            # Alone, only the faulty request fails again.
            return [self._predict_alone(request, request.left()) for request in batch]
        predictions = iter(merged)
        return [[next(predictions) for _ in range(request.left())] for request in batch]

    def _predict_alone(self, request: _Request, most: int) -> list[Prediction] | Exception:
        outcome = self._call_model(request.slice(most))
        if isinstance(outcome, RowRefused):
            return outcome.shifted(len(request.predictions))
        return outcome

    def _call_model(self, rows: Sequence[Row]) -> list[Prediction] | Exception:
        started = time.thread_time()
        try:
            predictions = self._model.predict(rows)
        except Exception as exc:  # noqa: BLE001  # it is raised again for the callers
            return exc
        if len(predictions) != len(rows):
            return RuntimeError(f"the model gave {len(predictions)} predictions for {len(rows)} rows")
        self._fit_slice(len(rows), time.thread_time() - started)
        return predictions

    def _fit_slice(self, rows: int, seconds: float) -> None:
        """Grows or shrinks the slice by what a call has taken. Small calls say nothing about large ones."""
        if seconds > 2 * SLICE_SECONDS and rows > LEAST_SLICE:
            self._slice = max(LEAST_SLICE, min(rows, self._slice) // 2)
        elif seconds < SLICE_SECONDS / 2 and rows >= self._slice:
            self._slice = min(MOST_SLICE, self._slice * 2)
