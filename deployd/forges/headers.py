"""The headers that name a delivery: its event and its GUID. No forge signs them, so their form is checked narrowly. Pure."""

import re

from deployd.errors import DeliveryRejected
from deployd.forges.forge import Headers

GUID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:-]{0,99}")
EVENT = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:-]{0,99}")


def named(headers: Headers, header: str, form: re.Pattern[bytes], sender: str) -> str:
    """The value of `header`, which `sender` sends with every delivery; DeliveryRejected 400 when it is missing or odd."""
    value = headers.get(header.lower().encode(), b"")
    if form.fullmatch(value) is None:
        hint = f"{sender} sends it with every delivery"
        raise DeliveryRejected(400, f"{header} is missing or malformed", hint=hint)
    return value.decode("ascii")


def first(headers: Headers, *names: str) -> str | None:
    """The first of these headers that is there."""
    return next((name for name in names if name.lower().encode() in headers), None)
