"""Zero-delay micro-batching: what has queued up while the model was busy is predicted in one call.

No request ever waits for company, so a lone caller loses nothing. Calls run in one thread, off the event loop. If a merged
call fails, each request is tried alone: what one caller sent never costs another its answer, and answers are handed out by
position, so none gets another's. Knows nothing of HTTP.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_service.model import Answer, Model, Row


@dataclass(frozen=True, slots=True)
class _Call:
    rows: Sequence[Row]
    answered: asyncio.Future[list[Answer]]


class Batcher:
    """Merges calls to a model whose calls cost more than their rows; runs the others one by one."""

    def __init__(self, model: Model, *, max_rows: int) -> None:
        self._model = model
        self._max_rows = max_rows if model.per_call else 0
        self._waiting: deque[_Call] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._worker: asyncio.Task[None] | None = None

    async def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each row; what the model raises for these rows is raised here."""
        call = _Call(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await call.answered

    async def close(self) -> None:
        """Waits until nothing is being predicted."""
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while calls := self._next_batch():
                outcomes = await loop.run_in_executor(self._thread, self._predict, calls)
                for call, outcome in zip(calls, outcomes, strict=True):
                    _settle(call.answered, outcome)
        finally:
            self._worker = None

    def _next_batch(self) -> list[_Call]:
        """The calls that wait, up to the limit of rows; those whose caller has gone are dropped."""
        calls: list[_Call] = []
        rows = 0
        while self._waiting and (not calls or rows + len(self._waiting[0].rows) <= self._max_rows):
            call = self._waiting.popleft()
            if not call.answered.done():
                calls.append(call)
                rows += len(call.rows)
        return calls

    def _predict(self, calls: list[_Call]) -> list[list[Answer] | Exception]:
        """In the thread: one outcome for each call."""
        merged = self._asked([row for call in calls for row in call.rows])
        if isinstance(merged, Exception):
            # Whoever's rows caused it gets it, when asked alone.
            return [merged] if len(calls) == 1 else [self._asked(call.rows) for call in calls]
        answers = iter(merged)
        return [[next(answers) for _ in call.rows] for call in calls]

    def _asked(self, rows: Sequence[Row]) -> list[Answer] | Exception:
        try:
            answers = self._model.answers(rows)
        except Exception as exc:  # noqa: BLE001  # handed to the callers, by position
            return exc
        if len(answers) != len(rows):
            return RuntimeError(f"the model gave {len(answers)} answers for {len(rows)} rows")
        return answers


def _settle(answered: asyncio.Future[list[Answer]], outcome: list[Answer] | Exception) -> None:
    if answered.done():
        return
    if isinstance(outcome, Exception):
        answered.set_exception(outcome)
    else:
        answered.set_result(outcome)
