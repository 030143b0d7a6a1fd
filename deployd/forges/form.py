"""The JSON that a forge sends as the `payload` field of a form, where its webhook's content type is set so."""

import binascii

from deployd.errors import DeliveryRejected

_HINT = "the body must be a form as the forge sends it"
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"+%", b" =")
_MOST_FIELDS = 16


def payload(raw: bytes) -> bytes:
    """The decoded `payload` field, which must be there exactly once; DeliveryRejected 400."""
    if raw.count(b"&") >= _MOST_FIELDS:
        raise DeliveryRejected(400, "the form has too many fields", hint="a forge sends one field, payload")
    values = [value for name, _, value in (field.partition(b"=") for field in raw.split(b"&")) if name == b"payload"]
    if len(values) != 1:
        raise DeliveryRejected(400, "the form must have the field payload exactly once", hint=_HINT)
    # Quoted-printable is the same code with another sign, and decoded in C: urllib takes ten times as long, and for 25 MB
    # hundreds of megabytes. Decoded, it must be two bytes shorter for each escape, or one was broken.
    quoted = values[0].replace(b"=", b"%3D").translate(_AS_QUOTED_PRINTABLE)
    text = binascii.a2b_qp(quoted)
    if len(quoted) - len(text) != 2 * quoted.count(b"=") or b"\n" in quoted or b"\r" in quoted:
        raise DeliveryRejected(400, "the form holds a broken % escape", hint=_HINT)
    return text
