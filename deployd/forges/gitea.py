"""The webhooks of Gitea and of Forgejo, which sends the same under both names.

Neither has a ping: "Test delivery" sends a push of the default branch. A redelivery has a GUID of its own.
"""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from deployd.delivery import Delivery, Ignored, Ping, Push
from deployd.forges.body import NOWHERE, AnyEvent, Sha, names, read
from deployd.forges.forge import Headers
from deployd.forges.headers import EVENT, GUID, first, named
from deployd.forges.signature import signed, usable


class _Head(Struct):
    id: Sha


class _Repository(Struct):
    html_url: str
    clone_url: str | None = None
    ssh_url: str | None = None


class _PushEvent(Struct):
    """The fields that are read of a push."""

    ref: str
    after: Sha
    repository: _Repository
    head_commit: _Head | None = None


class Gitea:
    """Gitea or Forgejo, such as Codeberg."""

    name: ClassVar[str] = "gitea"
    paths: ClassVar[Sequence[str]] = ("/webhooks/gitea", "/webhooks/forgejo")
    # Gitea signs the JSON and not the form around it: to check that, unverified bytes would have to be decoded.
    forms: ClassVar[bool] = False
    doubt: ClassVar[str] = "the webhook's secret must be one of secrets in [gitea], and its body must arrive unchanged"

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = usable(secrets)

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By HMAC-SHA256. Without a secret Gitea sends the headers all the same, with nothing in them."""
        header = first(headers, "X-Gitea-Signature", "X-Forgejo-Signature")
        return header is not None and signed(raw, b"sha256=" + headers[header.lower().encode()], self._secrets)

    def delivery(self, headers: Headers) -> Delivery:
        """By X-Gitea-Delivery and X-Gitea-Event, or Forgejo's own names for them."""
        event = first(headers, "X-Gitea-Event", "X-Forgejo-Event") or "X-Gitea-Event"
        guid = first(headers, "X-Gitea-Delivery", "X-Forgejo-Delivery") or "X-Gitea-Delivery"
        found = named(headers, event, EVENT, "Gitea")
        return Delivery(self.name, named(headers, guid, GUID, "Gitea"), found)

    def parse(self, event: str, text: bytes) -> Push | Ping | Ignored:
        """A push, or an event that deploys nothing."""
        if event == "push":
            return _push(read(text, event, _PushEvent, "X-Gitea-Event"))
        read(text, event, AnyEvent, "X-Gitea-Event")
        return Ignored(f"event {event} does not deploy")


def _push(event: _PushEvent) -> Push | Ignored:
    """A tag's commit is the one that it leads to, where `after` may be the tag object."""
    tag, head, repository = event.ref.startswith("refs/tags/"), event.head_commit, event.repository
    found = names(repository.html_url, repository.clone_url, repository.ssh_url)
    if not found:
        return NOWHERE
    commit = head.id if tag and head is not None else event.after
    return Push(found[0], event.ref, commit, deleted=not event.after.strip("0"), aliases=found[1:])
