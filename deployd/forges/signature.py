"""The signature that most forges send: HMAC-SHA256 over the raw body, in hexadecimal digits. Pure."""

import hmac
import re
from collections.abc import Sequence

_FORM = re.compile(rb"sha256=[0-9a-f]{64}")


def usable(secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    """The secrets without empty ones, since anybody could sign with those."""
    return tuple(secret for secret in secrets if secret)


def signed(raw: bytes, given: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether `given` is `sha256=` and the digest of `raw` under one of the secrets. All are tried, in constant time."""
    if _FORM.fullmatch(given) is None:
        return False
    signature = bytes.fromhex(given[7:].decode())
    genuine = False
    for secret in secrets:
        genuine |= hmac.compare_digest(hmac.digest(secret, raw, "sha256"), signature)
    return genuine
