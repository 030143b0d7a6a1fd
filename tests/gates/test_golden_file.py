import json
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from deployd.errors import RolloutFailed
from deployd.gates.golden_file import exchanges, parse, schema, tensors_of


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a golden file: not JSON at line 1, column 1"),
        (b"[]", "is not a golden file: expected object, got array"),
        (b"1", "is not a golden file: expected object, got int"),
        (b"{}", "is not a golden file: object missing required field cases"),
        (b'{"cases": 1}', "is not a golden file: expected array, got int - at $.cases"),
        (b'{"cases": [{}]}', "case 1: expected request and response, or inputs and outputs"),
        (
            b'{"cases": [{"request": 1, "outputs": {}}]}',
            "case 1: expected request and response, or inputs and outputs",
        ),
        (
            b'{"cases": [{"inputs": {}, "outputs": {}}]}',
            'case 1: "inputs" need "model", the name in /v2/models/NAME/infer',
        ),
        (
            b'{"cases": [{"request": 1, "response": 1}], "tolerance": Infinity}',
            "proves nothing: its tolerance is not a finite number",
        ),
        (
            b'{"cases": [], "rules": {"x": {"ignore": true}}}',
            'is not a golden file: rules: "x" is not a path: it must begin with $, as in "$.predictions[*].label"',
        ),
        (
            b'{"cases": [], "rules": {"$": {"ignor": true}}}',
            "is not a golden file: object contains unknown field ignor - at $.rules[...]",
        ),
        (b'{"cases": [1]}', "is not a golden file: expected object, got int - at $.cases[0]"),
        (b'{"cases": [], "tolerance": "x"}', "is not a golden file: expected float | null, got str - at $.tolerance"),
        (b'{"cases": []}', "has no cases"),
        (b"\xff", "is not a golden file: not UTF-8 text"),
        (b"[" * 100_000, "is not a golden file: nested too deeply"),
    ],
)
def test_a_fault_of_a_golden_file_is_told_in_plain_words(content: bytes, words: str) -> None:
    with pytest.raises(RolloutFailed) as refused:
        parse(content, "golden.json")
    assert refused.value.message.removeprefix("golden.json").lstrip(" ,") == words


OF_TODAY = b'{"url": "/p", "tolerance": 0.5, "cases": [{"request": 1, "response": 2}]}'
INFER: dict[str, Any] = {
    "model": "iris",
    "cases": [
        {
            "inputs": {
                "features": [[5.8, 4.0], [6.0, 3.0]],
                "ids": {"datatype": "INT32", "data": [1, 2]},
                "who": ["a", "b"],
            },
            "outputs": {"predict": [0, 1], "predict_proba": [[0.9, 0.1], [0.2, 0.8]]},
        }
    ],
}


def test_a_golden_file_can_set_url_method_and_tolerance() -> None:
    document = parse(OF_TODAY, "golden.json")
    assert (document.url, document.method, document.tolerance, len(document.cases)) == ("/p", "POST", 0.5, 1)


def test_a_case_may_have_its_own_route_method_and_status() -> None:
    case = {"name": "who", "url": "/who", "method": "GET", "request": None, "response": {"a": 1}, "status": 404}
    (found,) = exchanges(parse(json.dumps({"cases": [case]}).encode(), "golden.json"), "/predict")
    assert (found.name, found.method, found.url, found.body, found.status) == ("who", "GET", "/who", None, 404)


def test_inputs_and_outputs_become_a_request_of_the_open_inference_protocol() -> None:
    (found,) = exchanges(parse(json.dumps(INFER).encode(), "golden.json"), "/predict")
    assert (found.method, found.url) == ("POST", "/v2/models/iris/infer")
    assert found.body == {
        "inputs": [
            {"name": "features", "shape": [2, 2], "datatype": "FP64", "data": [5.8, 4.0, 6.0, 3.0]},
            {"name": "ids", "shape": [2], "datatype": "INT32", "data": [1, 2]},
            {"name": "who", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ],
        "outputs": [{"name": "predict"}, {"name": "predict_proba"}],
    }
    answer = {
        "model_name": "iris",
        "outputs": [
            {"name": "predict_proba", "shape": [2, 2], "datatype": "FP64", "data": [0.9, 0.1, 0.2, 0.8]},
            {"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 1]},
        ],
    }
    assert tensors_of(answer) == found.expected
    assert tensors_of({"error": "no such model"}) == {"error": "no such model"}


@pytest.mark.parametrize("content", [OF_TODAY, json.dumps(INFER).encode()], ids=["requests", "tensors"])
def test_the_schema_accepts_what_is_read(content: bytes) -> None:
    Draft202012Validator(schema()).validate(json.loads(content))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"cases": [{"request": 1}]},
        {"cases": [{"request": 1, "response": 1}], "tolerance": -1},
        {"cases": [{"request": 1, "response": 1}], "rules": {"$": {"ignored": True}}},
        {"cases": [{"request": 1, "response": 1, "status": 99}]},
    ],
)
def test_the_schema_refuses_what_is_refused(document: Any) -> None:
    assert not Draft202012Validator(schema()).is_valid(document)
    with pytest.raises(RolloutFailed):
        parse(json.dumps(document).encode(), "golden.json")
