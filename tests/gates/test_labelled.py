from typing import Any

import pytest

from deployd.config.gates import Evaluate
from deployd.errors import RolloutFailed
from deployd.gates.labelled import Labelled, label, read


def evaluate(data: str = "eval.csv", **given: Any) -> Evaluate:
    return Evaluate.model_validate({"data": data, "target": "species", "metrics": {"accuracy": {}}, **given})


def rows_of(content: str, **given: Any) -> Labelled:
    return read(content.encode(), evaluate(**given))


CSV = "width,species,country,id\n1.5,a,DE,7\n2,b,FR,\n"


def test_the_label_and_what_is_dropped_are_not_sent() -> None:
    found = rows_of(CSV, drop=["id"], by=["country"])
    assert found.rows == ({"width": 1.5, "country": "DE"}, {"width": 2, "country": "FR"})
    assert found.expected == ("a", "b")
    assert found.slices == {"country=DE": [0], "country=FR": [1]}


def test_an_empty_cell_is_null_and_what_looks_like_a_number_is_one() -> None:
    assert [row["id"] for row in rows_of(CSV).rows] == [7, None]
    found = rows_of("a,b,c,species\n-1e3,nan,1_0,x\n")
    assert found.rows == ({"a": -1000.0, "b": "nan", "c": "1_0"},)


def test_json_lines_and_csv_of_the_same_rows_are_read_alike() -> None:
    lines = (
        '{"width": 1.5, "species": "a", "country": "DE", "id": 7}\n\n'
        '{"width": 2, "species": "b", "country": "FR", "id": null}'
    )
    assert rows_of(lines, data="eval.jsonl").rows == rows_of(CSV).rows


def test_numbers_are_expected_of_metrics_of_numbers() -> None:
    found = rows_of("x,species\n1,2\n2,2.5\n", metrics={"rmse": {"at_most": 1}})
    assert found.expected == (2.0, 2.5)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (1.0, "1"), ("1", "1"), (True, "true"), (1.5, "1.5"), ("é", "é")]
)
def test_a_label_is_the_same_in_csv_and_in_json(value: Any, text: str) -> None:
    assert label(value) == text


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("", {}, "eval.csv has 0 rows, expected 1 to 100000"),
        ("x,x\n1,2\n", {}, "eval.csv has two columns with the same name"),
        ("x,species\n1\n", {}, "eval.csv, line 2, has 1 cells, expected 2"),
        ("x,y\n1,2\n", {}, "eval.csv, line 2, has no species"),
        ("x,species\n1,a\n", {"by": ["country"]}, "eval.csv, line 2, has no country"),
        ("x,species\n1,a\n", {"metrics": {"mae": {}}}, "eval.csv, line 2, has no number as its target"),
        ("[1]", {"data": "e.jsonl"}, "e.jsonl, line 1, is not a JSON object"),
        ("{", {"data": "e.jsonl"}, "e.jsonl, line 1, is not JSON"),
        ('x,species\n"1,a\n', {}, "eval.csv, line 2, is not CSV: unexpected end of data"),
    ],
)
def test_a_wrong_line_is_named(content: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutFailed) as refused:
        rows_of(content, **given)
    assert refused.value.message == message


def test_the_digest_changes_with_the_rows_and_with_how_they_are_sent_but_not_with_the_limits() -> None:
    base = rows_of(CSV).digest
    assert rows_of(CSV, metrics={"accuracy": {"at_least": 0.5}}).digest == base
    assert (
        len(
            {base, rows_of(CSV + "1,a,DE,1\n").digest, rows_of(CSV, url="/v3").digest, rows_of(CSV, drop=["id"]).digest}
        )
        == 4
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metrics": {"rmse": {"at_least": 1}}}, "rmse is better when it is smaller, so it takes at_most"),
        ({"metrics": {"accuracy": {"at_most": 1}}}, "accuracy is better when it is larger, so it takes at_least"),
        ({"metrics": {"accuracy": {}, "mae": {}}}, "mae is of numbers, the others are of labels"),
        ({"metrics": {"accuracy": {"slice_at_least": 0.5}}}, 'has limits for slices, so "by" must name a column'),
        ({"metrics": {}}, "at least 1"),
        ({"metrics": {"acuracy": {}}}, "accuracy"),
        ({"data": "../eval.csv"}, "inside the repository"),
    ],
)
def test_a_config_that_cannot_mean_anything_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(**given)
