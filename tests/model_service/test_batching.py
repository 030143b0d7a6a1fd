"""Micro-batching: calls are merged while the model is busy, and nobody pays for, or gets, what another sent."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_service.batching import Batcher
from model_service.errors import RequestRejected
from model_service.manifest import Manifest
from model_service.model import Answer, Row
from model_service.settings import Settings
from tests.model_service.conftest import served


class Slow:
    """A model whose first call waits until it is let go; it answers each row with its first value, and hates -1."""

    quick_rows = 0
    manifest: Manifest

    def __init__(self, *, per_call: bool = True) -> None:
        self.per_call = per_call
        self.calls: list[int] = []
        self.started, self.go = threading.Event(), threading.Event()

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        self.calls.append(len(rows))
        self.started.set()
        self.go.wait(30)
        if any(row[0] == -1 for row in rows):
            raise RequestRejected(422, "not that one")
        return [Answer(-1, row[0], (), b"") for row in rows]


async def asked_together(batcher: Batcher, model: Slow, asked: list[list[Row]]) -> list[Any]:
    """Asks one row that keeps the model busy, then all others at once, then lets the model go."""
    first = asyncio.create_task(batcher.answers([[0.0]]))
    await asyncio.to_thread(model.started.wait, 30)
    others = [asyncio.create_task(batcher.answers(rows)) for rows in asked]
    await asyncio.sleep(0)
    model.go.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)


async def test_what_queued_while_the_model_was_busy_is_predicted_in_one_call() -> None:
    model = Slow()
    batcher = Batcher(model, max_rows=100)
    said = await asked_together(batcher, model, [[[float(i)]] for i in range(50)])
    assert [answers[0].value for answers in said] == list(range(50))
    assert model.calls == [1, 50]
    await batcher.close()


async def test_a_bad_row_costs_no_other_caller_its_answer() -> None:
    model = Slow()
    batcher = Batcher(model, max_rows=100)
    said = await asked_together(batcher, model, [[[1.0], [2.0]], [[-1.0]], [[3.0]]])
    assert [answer.value for answer in said[0]] == [1.0, 2.0]
    assert isinstance(said[1], RequestRejected)
    assert said[2][0].value == 3.0
    await batcher.close()


async def test_batches_are_bounded_but_a_single_large_request_is_not_cut() -> None:
    model = Slow()
    batcher = Batcher(model, max_rows=10)
    small: list[list[Row]] = [[[2.0]] for _ in range(15)]
    await asked_together(batcher, model, [[[1.0]] * 25, *small])
    assert model.calls == [1, 25, 10, 5]
    await batcher.close()


async def test_models_whose_calls_are_cheap_are_not_batched() -> None:
    model = Slow(per_call=False)
    batcher = Batcher(model, max_rows=100)
    await asked_together(batcher, model, [[[1.0]], [[2.0]]])
    assert model.calls == [1, 1, 1]
    await batcher.close()


async def test_the_rows_of_a_caller_who_gave_up_are_not_predicted() -> None:
    model = Slow()
    batcher = Batcher(model, max_rows=100)
    first = asyncio.create_task(batcher.answers([[0.0]]))
    await asyncio.to_thread(model.started.wait, 30)
    gone = asyncio.create_task(batcher.answers([[1.0]]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    model.go.set()
    assert (await first)[0].value == 0.0
    await batcher.close()
    assert sum(model.calls) == 1


async def test_an_answer_too_few_is_an_error_for_all_and_not_a_shift() -> None:
    class Short(Slow):
        def answers(self, rows: Sequence[Row]) -> list[Answer]:
            return super().answers(rows)[:-1] if len(rows) > 1 else super().answers(rows)

    model = Short()
    batcher = Batcher(model, max_rows=100)
    said = await asked_together(batcher, model, [[[1.0]], [[2.0]], [[3.0], [4.0]]])
    assert [said[0][0].value, said[1][0].value] == [1.0, 2.0]
    with pytest.raises(RuntimeError):
        raise said[2]
    await batcher.close()


async def ask(client: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await client.post("/predict", json={"instances": [row]})


async def test_a_row_that_fails_inside_the_model_costs_no_other_caller_its_answer(
    powers_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP and with a real estimator, whose merged call fails as a whole."""
    async with served(Settings(dir=powers_dir)) as (client, service):
        model, batcher = service.model, service._batcher
        assert model is not None
        assert batcher is not None
        rows = [[4.0 + i / 4, 3.0, 1.0 + i / 3, i / 8] for i in range(8)]
        wanted = [model.answers([row])[0].value for row in rows]
        calls, loop = list[int](), asyncio.get_running_loop()
        busy, full, go = asyncio.Event(), asyncio.Event(), threading.Event()
        answers, queue = model.answers, batcher.answers
        asked = iter(range(1, 11))

        def watched(rows: Sequence[Row]) -> list[Answer]:
            calls.append(len(rows))
            loop.call_soon_threadsafe(busy.set)
            go.wait(60)
            return answers(rows)

        async def counted(rows: Sequence[Row]) -> list[Answer]:
            if next(asked) == 10:
                full.set()
            return await queue(rows)

        monkeypatch.setattr(model, "answers", watched)
        monkeypatch.setattr(batcher, "answers", counted)
        tasks = [asyncio.create_task(ask(client, rows[0]))]
        await busy.wait()
        tasks += [asyncio.create_task(ask(client, row)) for row in (*rows, [3e38] * 4)]
        await full.wait()
        go.set()
        first, *good, bad = await asyncio.gather(*tasks)
    assert calls == [1, 9, *[1] * 9]
    assert (bad.status_code, bad.json()["error"]) == (422, "the model has no finite answer for one of the rows")
    said = [answer.json()["predictions"][0]["value"] for answer in (first, *good)]
    assert said == pytest.approx([wanted[0], *wanted])
