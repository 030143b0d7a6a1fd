"""Micro-batching: requests are merged while the model is busy, and every caller gets its own predictions."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_service import batching
from model_service.app import create_app
from model_service.batching import Batcher
from model_service.errors import RequestRejected, RowRefused
from model_service.manifest import Manifest
from model_service.model import Prediction, Row
from model_service.settings import Settings
from tests.model_service.conftest import served


class BlockedModel:
    """Predicts nothing until `go` is set. The prediction of a row is its first value; -1 is refused."""

    quick_rows = 0
    manifest: Manifest

    def __init__(self, *, costly_calls: bool = True) -> None:
        self.costly_calls = costly_calls
        self.calls: list[int] = []
        self.started, self.go = threading.Event(), threading.Event()

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        self.calls.append(len(rows))
        self.started.set()
        self.go.wait(30)
        if any(row[0] == -1 for row in rows):
            raise RequestRejected(422, "-1 is refused")
        return [Prediction(-1, row[0], (), b"") for row in rows]


async def predict_together(batcher: Batcher, model: BlockedModel, requests: list[list[Row]]) -> list[Any]:
    """Sends a request that keeps the model busy, then all others at once, and then unblocks the model."""
    first = asyncio.create_task(batcher.predict([[0.0]]))
    await asyncio.to_thread(model.started.wait, 30)
    others = [asyncio.create_task(batcher.predict(rows)) for rows in requests]
    await asyncio.sleep(0)
    model.go.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)


async def test_requests_that_queue_while_the_model_is_busy_are_predicted_in_one_call() -> None:
    model = BlockedModel()
    batcher = Batcher(model, max_rows=100)
    results = await predict_together(batcher, model, [[[float(i)]] for i in range(50)])
    assert [predictions[0].value for predictions in results] == list(range(50))
    assert model.calls == [1, 50]
    await batcher.close()


async def test_a_request_that_fails_does_not_fail_the_others_in_its_batch() -> None:
    model = BlockedModel()
    batcher = Batcher(model, max_rows=100)
    results = await predict_together(batcher, model, [[[1.0], [2.0]], [[-1.0]], [[3.0]]])
    assert [prediction.value for prediction in results[0]] == [1.0, 2.0]
    assert isinstance(results[1], RequestRejected)
    assert results[2][0].value == 3.0
    await batcher.close()


async def test_batches_have_a_limit_and_a_large_request_lets_the_others_have_their_turns() -> None:
    model = BlockedModel()
    batcher = Batcher(model, max_rows=10)
    small: list[list[Row]] = [[[2.0]] for _ in range(15)]
    large: list[Row] = [[float(k)] for k in range(25)]
    first, *others = await predict_together(batcher, model, [large, *small])
    assert model.calls == [1, 16, 10, 5, 9]
    assert [prediction.value for prediction in first] == [row[0] for row in large]
    assert [len(predictions) for predictions in others] == [1] * 15
    await batcher.close()


async def test_a_slice_shrinks_when_a_call_takes_long_and_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = BlockedModel()
    model.go.set()
    batcher = Batcher(model, max_rows=64)
    monkeypatch.setattr(batching, "SLICE_SECONDS", 0.0)
    await batcher.predict([[1.0]] * 100)
    assert model.calls == [64, 32, 4]
    monkeypatch.setattr(batching, "SLICE_SECONDS", 60.0)
    await batcher.predict([[1.0]] * 300)
    assert model.calls[3:] == [16, 32, 64, 128, 60]
    await batcher.close()


async def test_a_large_request_whose_caller_has_gone_is_not_continued() -> None:
    model = BlockedModel()
    batcher = Batcher(model, max_rows=16)
    large = asyncio.create_task(batcher.predict([[1.0]] * 1000))
    await asyncio.to_thread(model.started.wait, 30)
    large.cancel()
    small = asyncio.create_task(batcher.predict([[7.0]]))
    await asyncio.sleep(0)
    model.go.set()
    assert (await small)[0].value == 7.0
    assert model.calls == [16, 1]
    await batcher.close()


async def test_a_refused_row_of_a_later_slice_has_its_number_in_the_request() -> None:
    class Picky(BlockedModel):
        def predict(self, rows: Sequence[Row]) -> list[Prediction]:
            for number, row in enumerate(rows):
                if row[0] == 99.0:
                    raise RowRefused(number, "99")
            return super().predict(rows)

    model = Picky()
    model.go.set()
    batcher = Batcher(model, max_rows=16)
    with pytest.raises(RowRefused, match="the model refuses row 41: 99"):
        await batcher.predict([[1.0]] * 41 + [[99.0]] + [[1.0]] * 30)
    await batcher.close()


async def test_the_prediction_of_a_caller_who_hangs_up_is_stopped(
    polynomial_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP: the caller's disconnect ends the work, not the time limit."""
    async with served(Settings(dir=polynomial_dir)) as (_, service):
        app, batcher = create_app(service), service._batcher
        assert batcher is not None
        gone, ended = asyncio.Event(), asyncio.Event()

        async def endless(_rows: Sequence[Row]) -> list[Prediction]:
            gone.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        monkeypatch.setattr(batcher, "predict", endless)
        sent: list[Any] = [{"type": "http.request", "body": b'{"instances": [[5, 3, 1, 0]]}'}]

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_message: Any) -> None:
            raise AssertionError("nobody is there to be answered")

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await asyncio.wait_for(app(scope, receive, send), 20)
        await asyncio.wait_for(ended.wait(), 20)


async def test_requests_to_models_with_cheap_calls_are_not_merged() -> None:
    model = BlockedModel(costly_calls=False)
    batcher = Batcher(model, max_rows=100)
    await predict_together(batcher, model, [[[1.0]], [[2.0]]])
    assert model.calls == [1, 1, 1]
    await batcher.close()


async def test_a_cancelled_request_is_not_predicted() -> None:
    model = BlockedModel()
    batcher = Batcher(model, max_rows=100)
    first = asyncio.create_task(batcher.predict([[0.0]]))
    await asyncio.to_thread(model.started.wait, 30)
    cancelled = asyncio.create_task(batcher.predict([[1.0]]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    model.go.set()
    assert (await first)[0].value == 0.0
    await batcher.close()
    assert sum(model.calls) == 1


async def test_a_model_that_gives_too_few_predictions_fails_instead_of_mixing_them_up() -> None:
    class ForgetfulModel(BlockedModel):
        def predict(self, rows: Sequence[Row]) -> list[Prediction]:
            return super().predict(rows)[:-1] if len(rows) > 1 else super().predict(rows)

    model = ForgetfulModel()
    batcher = Batcher(model, max_rows=100)
    results = await predict_together(batcher, model, [[[1.0]], [[2.0]], [[3.0], [4.0]]])
    assert [results[0][0].value, results[1][0].value] == [1.0, 2.0]
    with pytest.raises(RuntimeError):
        raise results[2]
    await batcher.close()


async def post(client: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await client.post("/predict", json={"instances": [row]})


async def test_a_row_that_fails_in_a_real_estimator_does_not_fail_the_others(
    polynomial_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP. The merged call fails as a whole."""
    async with served(Settings(dir=polynomial_dir)) as (client, service):
        model, batcher = service.model, service._batcher
        assert model is not None
        assert batcher is not None
        rows = [[4.0 + i / 4, 3.0, 1.0 + i / 3, i / 8] for i in range(8)]
        expected = [model.predict([row])[0].value for row in rows]
        calls, loop = list[int](), asyncio.get_running_loop()
        busy, all_queued, go = asyncio.Event(), asyncio.Event(), threading.Event()
        predict, queue = model.predict, batcher.predict
        numbers = iter(range(1, 11))

        def blocked_predict(rows: Sequence[Row]) -> list[Prediction]:
            calls.append(len(rows))
            loop.call_soon_threadsafe(busy.set)
            go.wait(60)
            return predict(rows)

        async def counted_queue(rows: Sequence[Row]) -> list[Prediction]:
            if next(numbers) == 10:
                all_queued.set()
            return await queue(rows)

        monkeypatch.setattr(model, "predict", blocked_predict)
        monkeypatch.setattr(batcher, "predict", counted_queue)
        tasks = [asyncio.create_task(post(client, rows[0]))]
        await busy.wait()
        tasks += [asyncio.create_task(post(client, row)) for row in (*rows, [3e38] * 4)]
        await all_queued.wait()
        go.set()
        first, *good, bad = await asyncio.gather(*tasks)
    assert calls == [1, 9, *[1] * 9]
    assert bad.status_code == 422
    assert bad.json()["error"].startswith("the model refuses this row: ValueError: Input X contains infinity")
    values = [answer.json()["predictions"][0]["value"] for answer in (first, *good)]
    assert values == pytest.approx([expected[0], *expected])
