"""MLflow's deliveries, as a real MLflow 3.17 sends them."""

import json
import time

import pytest

from deployd.delivery import Delivery, Ignored, Moved
from deployd.errors import DeliveryRejected
from deployd.forges.mlflow import MLflow
from tests.forges.payloads import lowered, mlflow_headers

SECRET = b"a secret of MLflow"
BODY = (
    b'{"entity": "model_version_alias", "action": "created", "timestamp": "2026-11-26T14:54:47.507974+00:00", '
    b'"data": {"name": "iris", "alias": "champion", "version": "1"}}'
)
GUID = b"51d7c354-3aa7-4f3f-8672-f176c2e3746f"


def sent(body: bytes = BODY, *, secret: bytes = SECRET, at: float | None = None) -> dict[bytes, bytes]:
    return lowered(mlflow_headers(body, secret.decode(), at))


def event(entity: str, action: str, **data: object) -> bytes:
    return json.dumps({"entity": entity, "action": action, "timestamp": "2026", "data": data}).encode()


def test_a_signed_delivery_is_genuine_under_any_of_the_secrets() -> None:
    assert MLflow([SECRET]).verify(BODY, sent())
    assert MLflow([b"another", SECRET]).verify(BODY, sent())


@pytest.mark.parametrize(
    "changed",
    [
        {b"x-mlflow-signature": b""},
        {b"x-mlflow-signature": b"v1,"},
        {b"x-mlflow-signature": b"v1,not base64"},
        {b"x-mlflow-delivery-id": b"another"},
        {b"x-mlflow-timestamp": b"1"},
    ],
)
def test_another_id_time_or_signature_is_not_genuine(changed: dict[bytes, bytes]) -> None:
    assert not MLflow([SECRET]).verify(BODY, sent() | changed)


def test_neither_is_another_body_another_version_another_secret_or_no_secret() -> None:
    headers = sent()
    assert not MLflow([SECRET]).verify(BODY + b" ", headers)
    other = headers[b"x-mlflow-signature"].replace(b"v1,", b"v2,")
    assert not MLflow([SECRET]).verify(BODY, headers | {b"x-mlflow-signature": other})
    assert not MLflow([b"another"]).verify(BODY, headers)
    assert not MLflow([]).verify(BODY, headers)
    assert not MLflow([b""]).verify(BODY, sent(secret=b""))


def test_a_delivery_has_its_id_and_must_be_of_these_minutes() -> None:
    forge, now = MLflow([SECRET]), time.time()
    assert forge.delivery(sent()) == Delivery("mlflow", GUID.decode(), "webhook")
    assert forge.delivery(sent(at=now - 600)).guid == GUID.decode(), "MLflow sends it again for some minutes"
    for at in (now - 1000, now + 1000, 10**12 - 1):
        with pytest.raises(DeliveryRejected, match="more than 15 minutes"):
            forge.delivery(sent(at=at))


def test_an_alias_that_is_set_or_removed_has_moved() -> None:
    forge = MLflow([SECRET])
    assert forge.parse("webhook", BODY) == Moved("iris", "champion")
    assert forge.parse("webhook", event("model_version_alias", "deleted", name="iris", alias="champion")) == Moved(
        "iris", "champion"
    )


@pytest.mark.parametrize("what", [("model_version", "created"), ("registered_model", "created"), ("prompt_tag", "set")])
def test_other_events_deploy_nothing(what: tuple[str, str]) -> None:
    said = MLflow([SECRET]).parse("webhook", event(*what, name="iris", run_id=None))
    assert said == Ignored(f"event {what[0]}.{what[1]} does not deploy")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"entity": 1}',
        event("model_version_alias", "created"),
        event("model_version_alias", "created", name="", alias=""),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(DeliveryRejected, match="does not look like"):
        MLflow([SECRET]).parse("webhook", body)
