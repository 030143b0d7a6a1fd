"""The counters, and their sums over workers that come and go."""

import math
import multiprocessing
import os
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_service.manifest import Manifest
from model_service.metrics import Metrics
from model_service.model import Prediction

ROW = [5.8, 4.0, 1.2, 0.2]


def values(text: bytes | str) -> dict[tuple[str, ...], float]:
    """(name, label values…) -> value."""
    families = text_string_to_metric_families(text if isinstance(text, str) else text.decode())
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


async def test_requests_rows_labels_and_values_outside_the_training_range_are_counted(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/predict", json={"instances": [ROW, [99.0, 4.0, 1.2, 0.2], [-1.0, 3.0, 5.0, 2.0]]})
    await client.post("/predict", json={"instances": "no"})
    await client.post("/api", json={"feature": [ROW]})
    await client.get("/version")
    counted = values((await client.get("/metrics")).text)
    assert counted["model_requests_total", "predict", "200"] == 1
    assert counted["model_requests_total", "predict", "422"] == 1
    assert counted["model_requests_total", "other", "200"] == 1
    assert counted["model_rows_total", "predict"] == 3
    assert counted["model_rows_total", "api"] == 1
    assert counted["model_predictions_total", "setosa"] + counted["model_predictions_total", "virginica"] == 4
    assert counted["model_input_outside_training_range_total", "sepal_length", "above"] == 1
    assert counted["model_input_outside_training_range_total", "sepal_length", "below"] == 1
    assert counted["model_input_outside_training_range_total", "petal_width", "above"] == 0
    assert counted["model_input_count", "petal_width"] == 4
    assert counted["model_input_sum", "petal_width"] == pytest.approx(0.2 * 3 + 2.0)
    assert counted["model_request_seconds_count", "predict"] == 2
    assert counted["model_request_seconds_bucket", "+Inf", "predict"] == 2


async def test_the_content_type_is_the_one_of_prometheus(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_missing_values_are_left_out_of_the_mean(iris_dir: Path) -> None:
    metrics = Metrics(Manifest.read(iris_dir), commit=None, shared=None)
    metrics.count_predictions(0, [[math.nan, 1.0, 1.0, 1.0], [5.0, 1.0, 1.0, 1.0]], [Prediction(0, 0.0, (), b"")] * 2)
    counted = values(metrics.text())
    assert (counted["model_input_count", "sepal_length"], counted["model_input_sum", "sepal_length"]) == (1, 5.0)


def count_in_a_worker(directory: Path, shared: Path, requests: int) -> None:
    """A worker process that counts requests and is killed."""
    metrics = Metrics(Manifest.read(directory), commit=None, shared=shared)
    for _ in range(requests):
        metrics.count_predictions(0, [ROW], [Prediction(0, 0.0, (), b"")])
    metrics.flush()
    os.kill(os.getpid(), 9)


@pytest.mark.slow
def test_a_scrape_of_one_worker_shows_the_counts_of_all_workers_also_of_killed_ones(
    iris_dir: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "metrics"
    shared.touch()
    ours = Metrics(Manifest.read(iris_dir), commit=None, shared=shared)
    spawn = multiprocessing.get_context("spawn")
    for died, requests in enumerate((10, 20, 30), start=1):
        worker = spawn.Process(target=count_in_a_worker, args=(iris_dir, shared, requests))
        worker.start()
        worker.join(60)
        assert worker.exitcode == -9
        assert values(ours.text())["model_rows_total", "predict"] == sum((10, 20, 30)[:died])
    ours.close()
