"""Counters: what they say, and that they add up over workers that come and go."""

import math
import multiprocessing
import os
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_service.manifest import Manifest
from model_service.meters import Meters
from model_service.model import Answer

ROW = [5.8, 4.0, 1.2, 0.2]


def values(text: bytes | str) -> dict[tuple[str, ...], float]:
    """(name, label values…) -> value."""
    families = text_string_to_metric_families(text if isinstance(text, str) else text.decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


async def test_requests_rows_labels_and_drift_are_counted(client: httpx.AsyncClient) -> None:
    await client.post("/predict", json={"instances": [ROW, [99.0, 4.0, 1.2, 0.2], [-1.0, 3.0, 5.0, 2.0]]})
    await client.post("/predict", json={"instances": "no"})
    await client.post("/api", json={"feature": [ROW]})
    await client.get("/version")
    told = values((await client.get("/metrics")).text)
    assert told["model_requests_total", "predict", "200"] == 1
    assert told["model_requests_total", "predict", "422"] == 1
    assert told["model_requests_total", "other", "200"] == 1
    assert told["model_rows_total", "predict"] == 3
    assert told["model_rows_total", "api"] == 1
    assert told["model_predictions_total", "setosa"] + told["model_predictions_total", "virginica"] == 4
    assert told["model_input_outside_training_range_total", "sepal_length", "above"] == 1
    assert told["model_input_outside_training_range_total", "sepal_length", "below"] == 1
    assert told["model_input_outside_training_range_total", "petal_width", "above"] == 0
    assert told["model_input_count", "petal_width"] == 4
    assert told["model_input_sum", "petal_width"] == pytest.approx(0.2 * 3 + 2.0)
    assert told["model_request_seconds_count", "predict"] == 2
    assert told["model_request_seconds_bucket", "+Inf", "predict"] == 2


async def test_the_exposition_says_what_it_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_missing_values_are_left_out_of_the_mean(iris_dir: Path) -> None:
    meters = Meters(Manifest.read(iris_dir), commit=None, shared=None)
    meters.predicted(0, [[math.nan, 1.0, 1.0, 1.0], [5.0, 1.0, 1.0, 1.0]], [Answer(0, 0.0, (), b"")] * 2)
    told = values(meters.text())
    assert (told["model_input_count", "sepal_length"], told["model_input_sum", "sepal_length"]) == (1, 5.0)


def count_in_a_worker(directory: Path, shared: Path, requests: int) -> None:
    """What a worker process does, until it is killed."""
    meters = Meters(Manifest.read(directory), commit=None, shared=shared)
    for _ in range(requests):
        meters.predicted(0, [ROW], [Answer(0, 0.0, (), b"")])
    meters.flush()
    os.kill(os.getpid(), 9)


def test_a_scrape_of_one_worker_tells_of_all_also_of_those_that_died(iris_dir: Path, tmp_path: Path) -> None:
    shared = tmp_path / "meters"
    shared.touch()
    ours = Meters(Manifest.read(iris_dir), commit=None, shared=shared)
    spawn = multiprocessing.get_context("spawn")
    for died, requests in enumerate((10, 20, 30), start=1):
        worker = spawn.Process(target=count_in_a_worker, args=(iris_dir, shared, requests))
        worker.start()
        worker.join(60)
        assert worker.exitcode == -9
        assert values(ours.text())["model_rows_total", "predict"] == sum((10, 20, 30)[:died])
    ours.close()
