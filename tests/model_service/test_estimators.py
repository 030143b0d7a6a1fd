"""Estimators as models: what scikit-learn refuses is refused with its words, and never answered silently or with a 500."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import CategoricalNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.svm import SVC

from model_service import train
from model_service.errors import RowRefused
from model_service.fitting import fit
from model_service.model import load
from model_service.quality import measure
from model_service.settings import Settings
from model_service.task import Task
from tests.model_service.conftest import served
from tests.model_service.kinds import TRUST, coded, customers, flowers, mixed

LOG = FunctionTransformer(np.log)
# Pipelines whose first step makes NaN of a checked value, and estimators that raise something else than ValueError.
REFUSALS: dict[str, tuple[Any, list[float], str]] = {
    "support vectors of a logarithm": (make_pipeline(LOG, StandardScaler(), SVC()), [-1.0, 3, 1, 0.2], "contains NaN"),
    "neighbours of a logarithm": (
        make_pipeline(LOG, KNeighborsClassifier(algorithm="brute")),
        [-1.0, 3, 1, 0.2],
        "contains NaN",
    ),
    "Box-Cox of zero": (
        make_pipeline(PowerTransformer("box-cox"), LogisticRegression()),
        [0.0, 3, 1, 0.2],
        "strictly positive",
    ),
}


def written(task: Task, out: Path) -> None:
    fitted = fit(task, seed=0)
    train.write(fitted, out, form="auto", metrics=measure(fitted))


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "row", "words"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_row_that_the_estimator_refuses_is_a_422_with_its_words(
    estimator: Any, row: list[float], words: str, tmp_path: Path
) -> None:
    written(flowers(estimator), tmp_path)
    good = load_iris().data[0].tolist()
    async with served(Settings(dir=tmp_path)) as (client, _):
        alone = await client.post("/predict", json={"instances": [row]})
        among = await client.post("/predict", json={"instances": [good, good, row, good]})
        tensor = {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": row}
        infer = await client.post("/v2/models/iris/infer", json={"inputs": [tensor]})
    assert alone.status_code == among.status_code == 422
    assert words in alone.json()["error"]
    assert alone.json()["error"].startswith("the model refuses this row: ValueError")
    assert among.json()["error"].startswith("the model refuses row 2: ValueError")
    assert (infer.status_code, words in infer.json()["error"]) == (422, True)


async def test_a_code_that_was_never_seen_is_a_422(tmp_path: Path) -> None:
    written(coded(CategoricalNB()), tmp_path)
    async with served(Settings(dir=tmp_path)) as (client, _):
        answer = await client.post("/predict", json={"instances": [[0, 1, 2, 7]]})
    assert (answer.status_code, answer.json()["error"][:30]) == (422, "the model refuses this row: In")


@pytest.mark.slow
def test_a_refused_row_is_found_among_many(tmp_path: Path) -> None:
    written(coded(CategoricalNB()), tmp_path)
    model = load(tmp_path)
    rows = [[0.0, 1.0, 2.0, 1.0] for _ in range(300)]
    rows[217] = [0.0, 1.0, 2.0, 9.0]
    with pytest.raises(RowRefused) as refused:
        model.predict(rows)
    assert refused.value.row == 217


@pytest.mark.slow
def test_the_words_of_a_refusal_are_about_the_row_that_it_names(tmp_path: Path) -> None:
    written(flowers(make_pipeline(LOG, KNeighborsClassifier(algorithm="brute"))), tmp_path)
    good, nan, infinite = [5.0, 3, 1, 0.2], [-1.0, 3, 1, 0.2], [0.0, 3, 1, 0.2]
    model = load(tmp_path)
    for rows, words in (([good, nan, infinite], "row 1: .*contains NaN"), ([good, infinite, nan], "row 1: .*infinity")):
        with pytest.raises(RowRefused, match=words):
            model.predict(rows)


@pytest.mark.slow
async def test_a_wrong_value_of_a_typed_column_is_named_with_what_is_known(tmp_path: Path) -> None:
    written(customers(mixed(LogisticRegression(max_iter=500))), tmp_path)
    row = {
        "age": 40,
        "income": None,
        "children": None,
        "member": True,
        "city": None,
        "plan": "plus",
        "comment": "good",
        "since": "2021-05-06T00:00:00",
    }
    wrong = {
        "age": (40.5, "expected a whole number"),
        "income": ("much", "expected a number"),
        "member": (1, "expected true or false"),
        "comment": (5, "expected a text"),
        "since": ("yesterday", "expected a date"),
        "plan": (5, 'expected one of "basic", "plus"'),
    }
    async with served(Settings(dir=tmp_path, trust=TRUST)) as (client, _):
        assert (await client.post("/predict", json={"instances": [row]})).status_code == 200
        # The encoder ignores categories that it does not know.
        assert (await client.post("/predict", json={"instances": [row | {"city": "Rome"}]})).status_code == 200
        for name, (value, words) in wrong.items():
            answer = await client.post("/predict", json={"instances": [row | {name: value}]})
            assert answer.status_code == 422, name
            assert f"({name}): {words}" in answer.json()["error"]
