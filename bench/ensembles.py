"""Forests and boostings that are served, beside scikit-learn in process: the CPU time and the time of one call.

The service reads JSON, checks every value, and writes JSON; scikit-learn gets an array and gives arrays. There is one caller.
"""

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import make_regression
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor

from bench.report import Report, interleaved
from bench.server import ask, ours, serving
from model_service import train
from model_service.fitting import fit
from model_service.quality import measure
from model_service.task import Task

ROWS = (1, 100, 1000)
SIZE, WIDTH = 20_640, 8  # of the houses of California, on which many tutorials train their forest
ESTIMATORS = {
    "forest": RandomForestRegressor(random_state=0, n_jobs=-1),
    "gradient boosting": GradientBoostingClassifier(random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(random_state=0),
}


def run(quick: bool, report: Report, scratch: Path) -> None:
    """Measure in turn, and compare the medians with the bars."""
    rounds, seconds = (1, 1) if quick else (3, 3)
    rows, answers = make_regression(SIZE, WIDTH, noise=20.0, random_state=0)
    fitted = {name: _fitted(name, rows, answers, scratch / name) for name in ESTIMATORS}
    for _, name in interleaved(rounds, fitted):
        _measure_served(report, name, scratch / name, rows, seconds)
        _measure_in_process(report, name, fitted[name], rows, seconds)
    for name in fitted:
        for cell in _cells(name):
            report.ratio(f"{cell}: CPU to scikit-learn's", f"{cell}: served, CPU", f"{cell}: in process, CPU")
            report.ratio(f"{cell}: time to scikit-learn's", f"{cell}: served, time", f"{cell}: in process, time")
            report.bar(f"{cell}: times scikit-learn's CPU", "<=", 3, f"{cell}: CPU to scikit-learn's")


def _cells(name: str) -> Iterator[str]:
    return (f"{name}, {count:,} {'row' if count == 1 else 'rows'}" for count in ROWS)


def _fitted(name: str, rows: Any, answers: Any, out: Path) -> Any:
    """The fitted estimator of a model that was written to `out`."""
    estimator = ESTIMATORS[name]
    given = answers if name == "forest" else (answers > np.median(answers)).astype(int)
    task = Task("bench", rows, given, tuple("abcdefgh"), estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = fit(task, seed=0)
        train.write(done, out, form="auto", metrics=measure(done))
    return done.estimator.set_params(n_jobs=None) if name == "forest" else done.estimator


def _measure_served(report: Report, name: str, model: Path, rows: Any, seconds: int) -> None:
    bodies = [json.dumps({"instances": rows[:count].tolist()}).encode() for count in ROWS]
    with serving(ours(model), bodies[0]) as (process, url, _):
        for cell, body in zip(_cells(name), bodies, strict=True):
            figures = ask(url, body, 1, seconds, process.pid)
            report.sample(f"{cell}: served, time", 1000 / figures["rate"], "ms")
            report.sample(f"{cell}: served, CPU", figures["cpu"] / 1000, "ms")
            if figures["failed"]:
                report.note(f"{cell}: {figures['failed']:.0f} requests failed")


def _measure_in_process(report: Report, name: str, estimator: Any, rows: Any, seconds: int) -> None:
    for cell, count in zip(_cells(name), ROWS, strict=True):
        given, calls = rows[:count], 0
        began, spent = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            estimator.predict(given)
            if hasattr(estimator, "predict_proba"):
                estimator.predict_proba(given)
            calls += 1
        report.sample(f"{cell}: in process, time", (time.perf_counter() - began) / calls * 1000, "ms")
        report.sample(f"{cell}: in process, CPU", (time.process_time() - spent) / calls * 1000, "ms")
