"""GitHub's webhooks. What GitHub does not sign (event name, GUID) is checked against the body's shape and a narrow pattern."""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import DecodeError, Meta, Struct, json

from deployd.delivery import Delivery, Ignored, Ping, Push
from deployd.errors import DeliveryRejected
from deployd.forges.forge import Headers
from deployd.forges.form import payload
from deployd.wording import plain

_SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}")
_GUID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:-]{0,99}")
_EVENT = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")

_Sha = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")]


class _Head(Struct):
    id: _Sha


class _Repository(Struct):
    full_name: Annotated[str, Meta(pattern=r"\A[^/\s]{1,100}/[^/\s]{1,100}\Z")]
    html_url: Annotated[str, Meta(pattern=r"\Ahttps?://[0-9A-Za-z.-]{1,255}(?::[0-9]{1,5})?/")]


class _PushEvent(Struct):
    """What is read of a push; the types are exact: no bool is an int here, and no number a string."""

    ref: str
    after: _Sha
    deleted: bool
    head_commit: _Head | None
    repository: _Repository


class _PingEvent(Struct):
    zen: str
    hook_id: int


class _AnyEvent(Struct):
    """Any other: an object of which nothing is read."""


_EVENTS: Mapping[str, type[Struct]] = {"push": _PushEvent, "ping": _PingEvent}


class GitHub:
    """GitHub, in the cloud or on a server of one's own."""

    name: ClassVar[str] = "github"
    # Beside our own, the path of the old recipe and the one that Jenkins uses: no hook has to be changed.
    paths: ClassVar[Sequence[str]] = ("/webhooks/github", "/github_webhook", "/github-webhook")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """An empty secret is left out: anybody could sign with it."""
        self._secrets = tuple(secret for secret in secrets if secret)

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By HMAC-SHA256; SHA-1 never counts."""
        given = headers.get(b"x-hub-signature-256", b"")
        if _SIGNATURE.fullmatch(given) is None:
            return False
        signature = bytes.fromhex(given[7:].decode())
        genuine = False
        for secret in self._secrets:
            genuine |= hmac.compare_digest(hmac.digest(secret, raw, "sha256"), signature)
        return genuine

    def delivery(self, headers: Headers) -> Delivery:
        """By X-GitHub-Delivery and X-GitHub-Event."""
        event, guid = headers.get(b"x-github-event", b""), headers.get(b"x-github-delivery", b"")
        if _EVENT.fullmatch(event) is None:
            raise DeliveryRejected(
                400, "X-GitHub-Event is missing or malformed", hint="GitHub sends it with every delivery"
            )
        if _GUID.fullmatch(guid) is None:
            raise DeliveryRejected(
                400, "X-GitHub-Delivery is missing or malformed", hint="GitHub sends a GUID with every delivery"
            )
        return Delivery(self.name, guid.decode("ascii"), event.decode("ascii"))

    def parse(self, event: str, raw: bytes, *, form: bool = False) -> Push | Ping | Ignored:
        """Of a key that is there twice the last counts: the signature vouches for whoever wrote it."""
        text = payload(raw) if form else raw
        try:
            found = json.decode(text, type=_EVENTS.get(event, _AnyEvent))
        except (DecodeError, UnicodeDecodeError, RecursionError) as exc:
            hint = "the body must be what GitHub sends with the event that X-GitHub-Event names"
            said = plain(exc) if isinstance(exc, DecodeError) else "it is not UTF-8, or nested too deeply"
            raise DeliveryRejected(400, f"the body does not look like a {event} event: {said}", hint=hint) from exc
        if isinstance(found, _PushEvent):
            return _push(found)
        if isinstance(found, _PingEvent):
            return Ping()
        return Ignored(f"event {event} does not deploy")


def _push(event: _PushEvent) -> Push:
    """A tag's commit is the one that it leads to, where `after` may be the tag object."""
    tag, head = event.ref.startswith("refs/tags/"), event.head_commit
    return Push(
        repository=f"{urlsplit(event.repository.html_url).hostname}/{event.repository.full_name}".lower(),
        ref=event.ref,
        commit=head.id if tag and head is not None else event.after,
        deleted=event.deleted or not event.after.strip("0"),
    )
