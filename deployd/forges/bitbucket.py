"""Bitbucket's webhooks: Bitbucket Cloud, and Bitbucket Data Center (once Bitbucket Server). One push may tell of many refs."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, field

from deployd.delivery import Delivery, Ignored, Ping, Push, Pushes
from deployd.forges.body import NOWHERE, AnyEvent, Sha, names, read
from deployd.forges.forge import Headers
from deployd.forges.headers import EVENT, GUID, first, named
from deployd.forges.signature import signed, usable

_HEADER = "X-Event-Key"
_PING = "diagnostics:ping"
_CLOUD = "bitbucket.org"
_REFS = {"branch": "refs/heads/", "tag": "refs/tags/"}
_NONE = "0" * 40
_NOTHING = Ignored("the push changed no branch and no tag")


class _Commit(Struct):
    hash: Sha


class _Ref(Struct):
    type: str
    name: str
    target: _Commit


class _CloudChange(Struct):
    """A ref after and before the push; null where it did not exist. `closed` is not read, as it means something else."""

    new: _Ref | None = None
    old: _Ref | None = None


class _CloudChanges(Struct):
    changes: list[_CloudChange]


class _CloudRepository(Struct):
    full_name: Annotated[str, Meta(pattern=r"\A[^/\s]{1,100}/[^/\s]{1,100}\Z")]


class _CloudPush(Struct):
    """The fields that are read of a push to Bitbucket Cloud."""

    push: _CloudChanges
    repository: _CloudRepository


class _Change(Struct):
    ref_id: str = field(name="refId")
    to: Sha = field(name="toHash")


class _Address(Struct):
    href: str


class _Links(Struct):
    clone: list[_Address] = []


class _Repository(Struct):
    links: _Links = field(default_factory=_Links)


class _DataCenterPush(Struct):
    """The fields that are read of a push to Bitbucket Data Center. Of very many refs it names none."""

    repository: _Repository
    changes: list[_Change] = []


class Bitbucket:
    """Bitbucket, in the cloud or on a server of one's own."""

    name: ClassVar[str] = "bitbucket"
    paths: ClassVar[Sequence[str]] = ("/webhooks/bitbucket",)
    forms: ClassVar[bool] = False
    doubt: ClassVar[str] = (
        "the webhook's secret must be one of secrets in [bitbucket], and its body must arrive unchanged"
    )

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = usable(secrets)

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By HMAC-SHA256, in the header that GitHub uses for SHA-1.

        Data Center does not sign its connection test, which is answered without a look at its body.
        """
        if b"x-hub-signature" not in headers and headers.get(b"x-event-key") == _PING.encode():
            return bool(self._secrets)
        return signed(raw, headers.get(b"x-hub-signature", b""), self._secrets)

    def delivery(self, headers: Headers) -> Delivery:
        """By X-Event-Key, and X-Request-UUID of Cloud or X-Request-Id of Data Center."""
        event = named(headers, _HEADER, EVENT, "Bitbucket")
        guid = first(headers, "X-Request-UUID", "X-Request-Id") or "X-Request-UUID"
        return Delivery(self.name, named(headers, guid, GUID, "Bitbucket"), event)

    def parse(self, event: str, text: bytes) -> Push | Pushes | Ping | Ignored:
        """The pushes of all refs, a ping, or an event that deploys nothing."""
        match event:
            case "repo:push":
                return _cloud(read(text, event, _CloudPush, _HEADER))
            case "repo:refs_changed" | "mirror:repo_synchronized":
                return _data_center(read(text, event, _DataCenterPush, _HEADER))
            case "diagnostics:ping":
                return Ping()
            case _:
                read(text, event, AnyEvent, _HEADER)
                return Ignored(f"event {event} does not deploy")


def _cloud(event: _CloudPush) -> Pushes | Ignored:
    name = f"{_CLOUD}/{event.repository.full_name}".lower()
    pushes = []
    for change in event.push.changes:
        ref = change.new or change.old
        if ref is not None and ref.type in _REFS:
            commit = _NONE if change.new is None else change.new.target.hash
            pushes.append(Push(name, _REFS[ref.type] + ref.name, commit, deleted=change.new is None))
    return Pushes(tuple(pushes)) if pushes else _NOTHING


def _data_center(event: _DataCenterPush) -> Pushes | Ignored:
    found = names(*(address.href for address in event.repository.links.clone))
    if not found:
        return NOWHERE
    pushes = [
        Push(found[0], change.ref_id, change.to, deleted=not change.to.strip("0"), aliases=found[1:])
        for change in event.changes
    ]
    return Pushes(tuple(pushes)) if pushes else _NOTHING
