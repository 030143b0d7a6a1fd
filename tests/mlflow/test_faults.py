import json

import pytest

from deployd.config.models import Model
from deployd.errors import BuildFailed, Unavailable
from deployd.mlflow.faults import fault_of

MODEL = Model(
    registry="https://mlflow.example.com:8443/ml", name="iris", alias="champion", username="ada", password="env:P"
)


def _said(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "content", "message", "hint"),
    [
        (
            400,
            _said("INVALID_PARAMETER_VALUE", "Registered model alias champion not found."),
            "not found",
            "set_registered",
        ),
        (
            404,
            _said("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=iris not found"),
            "does not have",
            "app.model.name",
        ),
        (404, b"<html>", "is not an MLflow server", "app.model.registry"),
        (401, b"", "needs a valid login", "username and password"),
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack",
            "Invalid Host",
            "--allowed-hosts mlflow.example.com:8443",
        ),
        (403, b"Permission denied", "does not let ada read the alias", "READ"),
        (302, b"", "redirects", "app.model.registry"),
    ],
)
def test_a_lasting_fault_says_what_to_do(status: int, content: bytes, message: str, hint: str) -> None:
    fault = fault_of(status, content, MODEL, "the alias champion of iris")
    assert isinstance(fault, BuildFailed)
    assert message in fault.message
    assert hint in fault.hint


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_passing_fault_is_unavailable_and_so_tried_again(status: int) -> None:
    fault = fault_of(status, _said("INTERNAL_ERROR", "\x1b[31mdatabase is locked"), MODEL, "the alias")
    assert isinstance(fault, Unavailable)
    assert fault.message.isprintable()
    assert "database is locked" in fault.message
