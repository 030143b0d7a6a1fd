"""The client in a program: what data scientists have in their hands is sent as JSON."""

import json
import math
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model_service import client as module
from model_service.client import Client


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The instances of each request."""
    found: list[Any] = []

    def request(_self: Client, _path: str, document: Any) -> Any:
        found.append(json.loads(json.dumps(document, allow_nan=False))["instances"])
        return {"predictions": [{} for _ in found[-1]]}

    monkeypatch.setattr(Client, "_request", request)
    return found


def test_rows_of_every_kind_are_sent_as_json(sent: list[Any]) -> None:
    frame = pd.DataFrame(
        {
            "age": pd.array([30, None], dtype="Int64"),
            "income": [1.5, math.nan],
            "city": ["Ulm", None],
            "member": [True, False],
            "since": pd.to_datetime(["2026-01-02", None]),
        }
    )
    for rows in (
        [[1, 2.5, math.nan]],
        np.array([[1, 2.5, np.nan]]),
        [(np.int64(1), np.float32(2.5), None)],
        [{"a": np.float64(1), "b": pd.NA, "c": datetime(2026, 1, 2)}],  # noqa: DTZ001  # a column without a time zone
        frame,
    ):
        Client().predict(rows)
    assert sent[0] == sent[1] == sent[2] == [[1, 2.5, None]]
    assert sent[3] == [{"a": 1.0, "b": None, "c": "2026-01-02T00:00:00"}]
    assert sent[4] == [
        {"age": 30, "income": 1.5, "city": "Ulm", "member": True, "since": "2026-01-02T00:00:00"},
        {"age": None, "income": None, "city": None, "member": False, "since": None},
    ]


def test_a_value_that_json_cannot_hold_is_refused_before_it_is_sent(sent: list[Any]) -> None:
    with pytest.raises(ValueError, match="infinite"):
        Client().predict([[math.inf]])
    with pytest.raises(TypeError, match="cannot send object"):
        Client().predict([[object()]])
    assert not sent


@pytest.mark.parametrize(
    ("word", "value"), [("5.8", 5.8), ("3", 3), ("true", True), ("null", None), ("Ulm", "Ulm"), ("[1]", "[1]")]
)
def test_a_word_of_the_command_is_json_or_else_a_text(word: str, value: Any) -> None:
    assert module._value(word) == value
    assert type(module._value(word)) is type(value)
