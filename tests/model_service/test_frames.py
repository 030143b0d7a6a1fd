"""DataFrames: what the estimator gets when it is served is what it got when it was fitted, and the answers are the same."""

import json
import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from model_service import data, train
from model_service.client import _plain, _rows
from model_service.fitting import Fitted, fit
from model_service.frames import FrameMaker, cells
from model_service.quality import measure
from model_service.settings import Settings
from model_service.task import Task
from tests.model_service.conftest import served
from tests.model_service.kinds import TRUST, customers, mixed, people


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(customers(mixed(RandomForestClassifier(5, random_state=0))), seed=0)


@pytest.fixture(scope="module")
def directory(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("customers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train.write(fitted, out, form="auto", metrics=measure(fitted))
    return out


DTYPES: dict[str, Any] = {
    "floats": pd.Series([1.5, np.nan, -2.0]),
    "small floats": pd.Series([1.5, 0.1, -2.0], dtype="float32"),
    "whole numbers": pd.Series([1, 2**53 + 1, -3]),
    "small whole numbers": pd.Series([1, 2, 3], dtype="uint8"),
    "whole numbers with gaps": pd.Series([1, None, 2**60 + 1], dtype="Int64"),
    "floats with gaps": pd.Series([1.5, None, 2.5], dtype="Float64"),
    "booleans": pd.Series([True, False, True]),
    "booleans with gaps": pd.Series([True, None, False], dtype="boolean"),
    "objects that are booleans": pd.Series([True, None, False], dtype=object),
    "text": pd.Series(["x", None, "y"]),
    "text of pandas": pd.Series(["x", None, "y"], dtype="string"),
    "objects with None": pd.Series(["x", None, "y"], dtype=object),
    "objects with NaN": pd.Series(["x", np.nan, "y"], dtype=object),
    "objects with NA": pd.Series(["x", pd.NA, "y"], dtype=object),
    "categories": pd.Series(["x", None, "y"], dtype="category"),
    "ordered categories": pd.Series(pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"], ordered=True)),
    "categories of numbers": pd.Series([3, 1, 3], dtype="category"),
    "dates": pd.Series(pd.to_datetime(["2026-01-02", None, "1999-12-31T23:59:59.5"], format="ISO8601")),
    "dates in nanoseconds": pd.Series(pd.to_datetime(["2026-01-02", "2001-02-03"]).as_unit("ns")),
    "dates of a time zone": pd.Series(pd.to_datetime(["2026-01-02", None]).tz_localize("Europe/Berlin")),
}


@pytest.mark.parametrize("name", DTYPES)
def test_a_column_comes_out_as_it_was_with_its_type(name: str) -> None:
    frame = pd.DataFrame({"first": range(len(DTYPES[name]) * 20), "column": pd.concat([DTYPES[name]] * 20)})
    read = data.read(Task("task", frame, [0, 1] * (len(frame) // 2)))
    features = data.describe(read.features, read.rows, read.rows)
    made = FrameMaker(features).frame(cells(frame, features))
    pd.testing.assert_frame_equal(made, frame.reset_index(drop=True), check_exact=True)
    nulls = made.column[made.column.isna()].tolist(), frame.column[frame.column.isna()].tolist()
    assert list(map(repr, nulls[0])) == list(map(repr, nulls[1]))


def frames() -> st.SearchStrategy[pd.DataFrame]:
    """A few rows of the columns of `people`: any order, nulls where there may be some, categories that nobody has seen."""
    row = st.fixed_dictionaries(
        {
            "age": st.integers(0, 130),
            "income": st.none() | st.floats(-1e6, 1e6),
            "children": st.none() | st.integers(0, 30),
            "member": st.booleans(),
            "city": st.none() | st.sampled_from(["Ulm", "Kiel", "Jena"]) | st.text(max_size=5),
            "plan": st.sampled_from(["basic", "plus", "new"]),
            "comment": st.text(max_size=20),
            "since": st.datetimes(),
        }
    )

    def shuffled(rows: list[dict[str, Any]], order: list[str]) -> pd.DataFrame:
        types = people().dtypes.to_dict() | {"plan": "category"}
        made = pd.DataFrame(rows, columns=list(types))
        made = pd.DataFrame({name: pd.Series(made[name].tolist(), dtype=types[name]) for name in types})
        return made[order]

    return st.builds(shuffled, st.lists(row, min_size=1, max_size=4), st.permutations(list(people(2).columns)))


@pytest.fixture(scope="module")
def pipeline(fitted: Fitted) -> Pipeline:
    return fitted.estimator


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
async def test_no_data_frame_is_answered_differently_than_in_process(directory: Path, pipeline: Pipeline) -> None:
    """500 of them, by the client's JSON over HTTP."""
    asked: list[tuple[pd.DataFrame, Any]] = []

    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(frame=frames())
    def collect(frame: pd.DataFrame) -> None:
        asked.append((frame, _answers(pipeline, frame)))

    collect()
    async with served(Settings(dir=directory, trust=TRUST)) as (client, _):
        for frame, expected in asked:
            answer = await client.post("/predict", json={"instances": [_plain(row) for row in _rows(frame)]})
            assert_same(answer, expected, frame)


def _answers(pipeline: Pipeline, frame: pd.DataFrame) -> Any:
    try:
        return pipeline.predict(frame).tolist(), pipeline.predict_proba(frame).tolist()
    except Exception as exc:  # noqa: BLE001  # whatever the pipeline refuses, the service refuses
        return exc


def assert_same(answer: httpx.Response, expected: Any, frame: pd.DataFrame) -> None:
    assert answer.status_code < 500
    if isinstance(expected, Exception):
        assert answer.status_code == 422, (frame, expected)
        return
    assert answer.status_code == 200, (answer.text, json.dumps(_plain(_rows(frame)), default=str))
    predictions = answer.json()["predictions"]
    assert [one["label"] for one in predictions] == expected[0]
    assert [list(one["probabilities"].values()) for one in predictions] == expected[1]
