"""The golden file: requests and the answers that they must get. Reads it, and describes it as a JSON Schema. Pure.

A case sends `request` to `url`, and the answer must contain all that `response` has. For a service of the Open Inference
Protocol a case may have `inputs` and `outputs` instead: tensors by their names, as plain lists.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from deployd.errors import RolloutFailed
from deployd.gates.rules import Rule, Rules
from deployd.wording import plain

Number = Annotated[float, Meta(ge=0)]
Status = Annotated[int, Meta(ge=200, le=599)]
_DATATYPES = {bool: "BOOL", str: "BYTES", int: "INT64"}


class Case(Struct, frozen=True):
    """One request, and what its answer must contain: either `request` and `response` (any JSON; a request of null sends no
    body), or `inputs` and `outputs` (tensors of the Open Inference Protocol by name: nested lists, or an input as
    {"datatype", "data"} where the datatype is not FP64, INT64, BOOL or BYTES).

    `name` tells it apart in reports. `url` and `method` differ from the file's where they are given. `status`: the status that
    the answer must have; without it any 2xx.
    """

    request: Any = UNSET
    response: Any = UNSET
    inputs: dict[str, Any] | UnsetType = UNSET
    outputs: dict[str, list[Any]] | UnsetType = UNSET
    name: str = ""
    url: str | None = None
    method: str | None = None
    status: Status | None = None


class Document(Struct, frozen=True):
    """A golden file. `url`: where requests are sent; `tolerance`: how much numbers may differ; `rules`: how the values at a path
    are compared, such as {"$.predictions[*].probabilities": {"relative": 1e-4}}. What [app.golden] says takes precedence.
    `model`: the name in /v2/models/NAME/infer, for cases with inputs and outputs."""

    cases: tuple[Case, ...]
    url: str | None = None
    method: str = "POST"
    tolerance: Number | None = None
    rules: dict[str, Rule] = {}
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it is sent, and the answer that it must get. `tensors`: the answer is read as tensors by name."""

    name: str
    method: str
    url: str
    body: Any
    expected: Any
    status: int | None = None
    tensors: bool = False


def parse(content: bytes, name: str) -> Document:
    """The cases of a golden file; RolloutFailed when it is not a golden file."""
    try:
        document = msgspec.convert(json.loads(content), Document)
        Rules(document.rules, document.tolerance or 0.0)
    except (ValueError, RecursionError) as exc:
        raise RolloutFailed(
            f"{name} is not a golden file: {_words(exc)}",
            hint='expected {"url", "tolerance", "cases": [{"request", "response"}]}; deployd golden schema prints the format',
        ) from exc
    if not document.cases:
        raise RolloutFailed(f"{name} has no cases", hint="record at least one case, or remove [app.golden]")
    if document.tolerance is not None and not document.tolerance < math.inf:
        raise RolloutFailed(f"{name} proves nothing: its tolerance is not a finite number")
    for number, case in enumerate(document.cases, start=1):
        if wrong := _incomplete(case, document):
            raise RolloutFailed(f"{name}, case {number}: {wrong}", hint="deployd golden schema prints the format")
    return document


def schema() -> dict[str, Any]:
    """The JSON Schema of golden files, made from what reads them."""
    (found,), parts = msgspec.json.schema_components([Document], ref_template="#/$defs/{name}")
    parts["Case"]["anyOf"] = [{"required": ["request", "response"]}, {"required": ["inputs", "outputs"]}]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "Golden file", **found, "$defs": parts}


def exchanges(document: Document, url: str) -> tuple[Exchange, ...]:
    """The exchange of each case. `url`: the route of cases that name none."""
    return tuple(_exchange(case, document, url) for case in document.cases)


def tensors_of(answer: Any) -> Any:
    """An answer of the Open Inference Protocol with its outputs by name, flat; unchanged when it is none."""
    try:
        return {"outputs": {tensor["name"]: _flat(tensor["data"]) for tensor in answer["outputs"]}}
    except (KeyError, TypeError):
        return answer


def _exchange(case: Case, document: Document, url: str) -> Exchange:
    if case.inputs is UNSET or case.outputs is UNSET:
        method = case.method or document.method
        return Exchange(case.name, method, case.url or url, case.request, case.response, case.status)
    body = {
        "inputs": [_tensor(name, value) for name, value in case.inputs.items()],
        "outputs": [{"name": name} for name in case.outputs],
    }
    expected = {"outputs": {name: _flat(value) for name, value in case.outputs.items()}}
    route = case.url or f"/v2/models/{document.model}/infer"
    return Exchange(case.name, "POST", route, body, expected, case.status, tensors=True)


def _tensor(name: str, value: Any) -> dict[str, Any]:
    given: Mapping[str, Any] = value if isinstance(value, dict) else {"data": value}
    data = _flat(given.get("data", []))
    kinds = {type(item) for item in data}
    datatype = _DATATYPES.get(next(iter(kinds)), "FP64") if len(kinds) == 1 else "FP64"
    shape = _shape(given.get("data", []))
    return {"name": name, "shape": shape, "datatype": datatype, **given, "data": data}


def _flat(value: Any) -> list[Any]:
    return [inner for one in value for inner in _flat(one)] if isinstance(value, list) else [value]


def _shape(value: Any) -> list[int]:
    return [len(value), *(_shape(value[0]) if value else [])] if isinstance(value, list) else []


def _incomplete(case: Case, document: Document) -> str:
    tensors = (case.inputs is not UNSET, case.outputs is not UNSET)
    plain_ones = (case.request is not UNSET, case.response is not UNSET)
    if all(tensors) and not any(plain_ones):
        return "" if document.model or case.url else '"inputs" need "model", the name in /v2/models/NAME/infer'
    if all(plain_ones) and not any(tensors):
        return ""
    return "expected request and response, or inputs and outputs"


def _words(exc: Exception) -> str:
    """The fault of the file: the place where it is not JSON, or what is missing."""
    if isinstance(exc, json.JSONDecodeError):
        return f"not JSON at line {exc.lineno}, column {exc.colno}"
    if isinstance(exc, msgspec.ValidationError):
        return plain(exc)
    if isinstance(exc, UnicodeDecodeError):
        return "not UTF-8 text"
    return "nested too deeply" if isinstance(exc, RecursionError) else f"rules: {exc}"


def unused_rule(rules: Rules, asked: Sequence[Exchange]) -> str | None:
    """The path of a rule that matches nothing in any expected answer."""
    return rules.unused([one.expected for one in asked])
