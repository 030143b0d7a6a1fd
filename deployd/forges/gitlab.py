"""GitLab's webhooks: those of a project, of a group, and of the whole instance (system hooks).

GitLab sends a secret token as it is, or, from 19.0 on, signs with a signing token in the way of Standard Webhooks. There is no
ping: "Test" sends a push of the default branch.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from msgspec import Struct

from deployd.delivery import Delivery, Ignored, Ping, Push
from deployd.errors import ConfigError
from deployd.forges.body import NOWHERE, Sha, names, read
from deployd.forges.forge import Headers
from deployd.forges.headers import GUID, first, named

_HEADER = "X-Gitlab-Event"
_EVENT = re.compile(rb"[A-Z][0-9A-Za-z]{0,30}(?: [0-9A-Za-z]{1,30}){0,8}")  # "Tag Push Hook"
_SYSTEM = "System Hook"
_PUSHES = frozenset({"Push Hook", "Tag Push Hook", _SYSTEM})

_SIGNING_TOKEN = b"whsec_"
_SIGNATURES = re.compile(rb"v1,[0-9A-Za-z+/]{43}=(?: v1,[0-9A-Za-z+/]{43}=){0,9}")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_FRESH_SECONDS = 300


class _Project(Struct):
    web_url: str
    git_http_url: str | None = None
    git_ssh_url: str | None = None


class _PushEvent(Struct):
    """The fields that are read of a push. `after` may be the object of a tag; `checkout_sha` is its commit, and null for what was
    deleted."""

    object_kind: Literal["push", "tag_push"]
    ref: str
    after: Sha
    project: _Project
    checkout_sha: Sha | None = None


class _SomeEvent(Struct):
    """Any other event: only its name is read, from either of the two keys."""

    object_kind: str = ""
    event_name: str = ""


class GitLab:
    """GitLab, in the cloud or on a server of one's own."""

    name: ClassVar[str] = "gitlab"
    paths: ClassVar[Sequence[str]] = ("/webhooks/gitlab",)
    forms: ClassVar[bool] = False
    doubt: ClassVar[str] = (
        "the webhook's secret token or signing token must be one of secrets in [gitlab]; what is signed must arrive unchanged, "
        "and within five minutes by the clocks of both machines"
    )

    def __init__(self, secrets: Sequence[bytes], now: Callable[[], float] = time.time) -> None:
        """A secret that begins with whsec_ is a signing token; ConfigError when it is broken."""
        self._keys = [_key(secret) for secret in secrets if secret.startswith(_SIGNING_TOKEN)]
        tokens = [secret for secret in secrets if secret and not secret.startswith(_SIGNING_TOKEN)]
        self._tokens = [hashlib.sha256(token).digest() for token in tokens]
        self._now = now

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By the signature, if there is one and a signing token to check it with; otherwise by the secret token."""
        if self._keys and b"webhook-signature" in headers:
            return self._signed(raw, headers)
        given, genuine = hashlib.sha256(headers.get(b"x-gitlab-token", b"")).digest(), False
        for token in self._tokens:
            genuine |= hmac.compare_digest(token, given)
        return genuine

    def delivery(self, headers: Headers) -> Delivery:
        """By X-Gitlab-Event and the key that a resent delivery has again.

        Only a GitLab before 17.4 sends none: there each delivery counts as a new one. Its X-Gitlab-Event-UUID can be that of
        other deliveries too.
        """
        event = named(headers, _HEADER, _EVENT, "GitLab")
        key = first(headers, "webhook-id", "Idempotency-Key")
        return Delivery(self.name, str(uuid.uuid4()) if key is None else named(headers, key, GUID, "GitLab"), event)

    def parse(self, event: str, text: bytes) -> Push | Ping | Ignored:
        """A push, or an event that deploys nothing. A system hook says in its body of which kind it is."""
        some = read(text, event, _SomeEvent, _HEADER)
        kind = some.object_kind or some.event_name
        if event not in _PUSHES or (event == _SYSTEM and kind not in {"push", "tag_push"}):
            inner = f" {kind}" if event == _SYSTEM and kind.isidentifier() else ""
            return Ignored(f"event {event}{inner} does not deploy")
        return _push(read(text, event, _PushEvent, _HEADER))

    def _signed(self, raw: bytes, headers: Headers) -> bool:
        stamp, given = headers.get(b"webhook-timestamp", b""), headers[b"webhook-signature"]
        if _TIMESTAMP.fullmatch(stamp) is None or _SIGNATURES.fullmatch(given) is None:
            return False
        if abs(self._now() - int(stamp)) > _FRESH_SECONDS:
            return False
        genuine = False
        for key in self._keys:
            expected = hmac.new(key, b"%b.%b." % (headers.get(b"webhook-id", b""), stamp), "sha256")
            expected.update(raw)
            for one in given.split(b" "):
                genuine |= hmac.compare_digest(expected.digest(), base64.b64decode(one[3:]))
        return genuine


def _key(token: bytes) -> bytes:
    try:
        key = base64.b64decode(token.removeprefix(_SIGNING_TOKEN), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        hint = "copy it again from the webhook's page: whsec_, and what follows it"
        raise ConfigError("gitlab.secrets: the signing token is not complete", hint=hint)
    return key


def _push(event: _PushEvent) -> Push | Ignored:
    found = names(event.project.web_url, event.project.git_http_url, event.project.git_ssh_url)
    if not found:
        return NOWHERE
    commit, deleted = event.checkout_sha or event.after, not event.after.strip("0")
    return Push(found[0], event.ref, commit, deleted=deleted, aliases=found[1:])
