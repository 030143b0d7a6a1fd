"""MLflow's webhooks: they tell that the alias of a registered model points to another version. A hint, as a push is.

They are experimental in MLflow 3 and need a SQL back end. A delivery is signed with its id and its time.
"""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from deployd.delivery import Delivery, Ignored, Moved
from deployd.errors import DeliveryRejected
from deployd.forges.body import read
from deployd.forges.forge import Headers
from deployd.forges.headers import GUID, named
from deployd.forges.signature import usable

_ID, _TIMESTAMP, _SIGNATURE = b"x-mlflow-delivery-id", b"x-mlflow-timestamp", b"x-mlflow-signature"
_TIME = re.compile(rb"[0-9]{1,12}")
# MLflow sends a delivery up to four times in some minutes, each time with the same time.
_PATIENCE_S = 900.0
_EVENT = "webhook"  # no header names the event
_ALIAS = "model_version_alias"

_Name = Annotated[str, Meta(min_length=1, max_length=255)]


class _Data(Struct):
    name: _Name
    alias: _Name


class _Event(Struct):
    """The fields of any event."""

    entity: Annotated[str, Meta(max_length=100)]
    action: Annotated[str, Meta(max_length=100)]


class _AliasEvent(Struct):
    """The fields that are read of an alias that was set or removed."""

    data: _Data


class MLflow:
    """An MLflow server."""

    name: ClassVar[str] = "mlflow"
    paths: ClassVar[Sequence[str]] = ("/webhooks/mlflow",)
    forms: ClassVar[bool] = False
    doubt: ClassVar[str] = (
        "the webhook must be created with a secret that is one of secrets in [mlflow], and its body must arrive unchanged"
    )

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = usable(secrets)

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By HMAC-SHA256 over id, time and body, in base64."""
        version, _, text = headers.get(_SIGNATURE, b"").partition(b",")
        try:
            given = base64.b64decode(text, validate=True)
        except binascii.Error:
            return False
        signed = b".".join((headers.get(_ID, b""), headers.get(_TIMESTAMP, b""), raw))
        genuine = False
        for secret in self._secrets:
            genuine |= hmac.compare_digest(hmac.digest(secret, signed, "sha256"), given)
        return genuine and version == b"v1"

    def delivery(self, headers: Headers) -> Delivery:
        """By X-MLflow-Delivery-Id; DeliveryRejected 400 when it was sent long ago."""
        guid = named(headers, "X-MLflow-Delivery-Id", GUID, "MLflow")
        sent = int(named(headers, "X-MLflow-Timestamp", _TIME, "MLflow"))
        if abs(time.time() - sent) > _PATIENCE_S:
            at = datetime.fromtimestamp(min(sent, 253402300799), UTC)
            hint = "compare the clocks of the two hosts, unless somebody sends old deliveries again"
            what = f"the delivery is of {at:%Y-%m-%d %H:%M} UTC, more than {_PATIENCE_S / 60:.0f} minutes from now"
            raise DeliveryRejected(400, what, hint=hint)
        return Delivery(self.name, guid, _EVENT)

    def parse(self, event: str, text: bytes) -> Moved | Ignored:
        """An alias that was set or removed, or an event that deploys nothing."""
        said = read(text, event, _Event, "MLflow")
        if said.entity != _ALIAS:
            return Ignored(f"event {said.entity}.{said.action} does not deploy")
        data = read(text, f"{said.entity}.{said.action}", _AliasEvent, "MLflow").data
        return Moved(data.name, data.alias)
