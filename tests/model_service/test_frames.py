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


# The types in which a column without missing values may come and mean the same.
SAME: dict[str, list[str]] = {
    "age": ["int64", "int32", "Int64", "float64"],
    "income": ["float64", "Float64"],
    "children": ["Int64", "int16", "float64"],
    "member": ["bool", "boolean"],
    "city": ["str", "object", "string", "category"],
    "plan": ["category", "str", "object"],
    "comment": ["str", "object", "string"],
    "since": ["datetime64[us]", "datetime64[ms]"],
}
# A value that a column cannot hold.
WRONG = {
    "age": "old",
    "income": "much",
    "children": 1.5,
    "member": 1,
    "city": 5,
    "plan": True,
    "comment": 0,
    "since": "later",
}


def frames() -> st.SearchStrategy[pd.DataFrame]:
    """A few rows of the columns of `people`: any order, several types, nulls where there may be some, unseen categories."""
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
    trained = people().dtypes.to_dict() | {"plan": "category"}

    def made(rows: list[dict[str, Any]], order: list[str], types: dict[str, str]) -> pd.DataFrame:
        columns = {name: [row[name] for row in rows] for name in order}
        return pd.DataFrame(
            {
                name: pd.Series(values, dtype=trained[name] if None in values else types[name])
                for name, values in columns.items()
            }
        )

    types = st.fixed_dictionaries({name: st.sampled_from(known) for name, known in SAME.items()})
    return st.builds(made, st.lists(row, min_size=1, max_size=4), st.permutations(list(SAME)), types)


@pytest.fixture(scope="module")
def pipeline(fitted: Fitted) -> Pipeline:
    return fitted.estimator


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
async def test_no_data_frame_is_answered_differently_than_in_process(directory: Path, pipeline: Pipeline) -> None:
    """500 of them, by the client's JSON over HTTP; and each with a value that a column cannot hold."""
    asked: list[tuple[pd.DataFrame, Any]] = []

    @settings(max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(frame=frames())
    def collect(frame: pd.DataFrame) -> None:
        asked.append((frame, _answers(pipeline, frame, with_probabilities=len(asked) % 4 == 0)))

    collect()
    answered: list[pd.DataFrame] = []
    async with served(Settings(dir=directory, trust=TRUST)) as (client, _):
        for number, (frame, expected) in enumerate(asked):
            rows = [_plain(row) for row in _rows(frame)]
            answer = await client.post("/predict", json={"instances": rows})
            assert_same(answer, expected, frame)
            if answer.status_code == 200:
                answered.append(frame)
            name = list(WRONG)[number % len(WRONG)]
            rows[-1][name] = WRONG[name]
            refused = await client.post("/predict", json={"instances": rows})
            assert refused.status_code == 422, (name, rows)
            assert f"instances[{len(rows) - 1}]" in refused.json()["error"]
            assert f"({name}): expected" in refused.json()["error"]
    assert len(asked) >= 500
    assert_various(answered)


def assert_various(answered: list[pd.DataFrame]) -> None:
    """Of everything that the frames may have, enough had it and were answered, so that the comparison says something."""
    assert len(answered) > 400
    assert sum(frame.isna().any(axis=None) for frame in answered) > 100
    assert sum("new" in frame["plan"].tolist() for frame in answered) > 50
    assert sum(not set(frame["city"].dropna()) <= {"Ulm", "Kiel", "Jena"} for frame in answered) > 50
    assert len({tuple(frame.columns) for frame in answered}) > 100
    assert all(len({str(frame[name].dtype) for frame in answered}) > 1 for name in SAME)


def _answers(pipeline: Pipeline, frame: pd.DataFrame, *, with_probabilities: bool) -> Any:
    try:
        return pipeline.predict(frame).tolist(), pipeline.predict_proba(frame).tolist() if with_probabilities else None
    except Exception as exc:  # noqa: BLE001  # whatever the pipeline refuses, the service refuses
        return exc


def assert_same(answer: httpx.Response, expected: Any, frame: pd.DataFrame) -> None:
    if isinstance(expected, Exception):
        assert answer.status_code == 422, (frame, expected)
        return
    assert answer.status_code == 200, (answer.text, json.dumps(_plain(_rows(frame)), default=str))
    predictions = answer.json()["predictions"]
    labels, probabilities = expected
    assert [one["label"] for one in predictions] == labels
    if probabilities is not None:
        assert [list(one["probabilities"].values()) for one in predictions] == probabilities
