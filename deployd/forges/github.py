"""GitHub's webhooks: is the delivery genuine, and what does it say. Pure: bytes and headers in, values out.

`headers` maps lower-case names to values, repeated ones joined by a comma, so that what must be there once fails its pattern
when it comes twice. What GitHub does not sign (event name, GUID) is checked against the body's shape and a narrow pattern.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, json

from deployd.domain import Delivery, Ignored, Ping, Push
from deployd.errors import DeliveryRejected
from deployd.forges.form import payload
from deployd.logs.log import printable

NAME = "github"

# Past these GitHub leaves commits and files out of the payload without saying so.
MOST_COMMITS = 2048
MOST_FILES = 3000

_SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}")
_GUID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:-]{0,99}")
_EVENT = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_SKIP = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip|skip deploy)\]", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")
_SKIP_TRAILER = re.compile(r"^skip-checks:[ \t]*true[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


_Sha = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")]


class _Commit(Struct):
    added: list[str]
    removed: list[str]
    modified: list[str]


class _Author(Struct):
    name: str


class _Head(Struct):
    id: _Sha
    message: str
    author: _Author


class _Repository(Struct):
    full_name: Annotated[str, Meta(pattern=r"\A[^/\s]{1,100}/[^/\s]{1,100}\Z")]


class _PushEvent(Struct):
    """What is read of a push; the types are exact: no bool is an int here, and no number a string."""

    ref: str
    before: _Sha
    after: _Sha
    created: bool
    deleted: bool
    forced: bool
    commits: list[_Commit]
    head_commit: _Head | None
    repository: _Repository


class _PingEvent(Struct):
    zen: str
    hook_id: int


class _AnyEvent(Struct):
    """Any other: an object of which nothing is read."""


_EVENTS: Mapping[str, type[Struct]] = {"push": _PushEvent, "ping": _PingEvent}


def verify(raw: bytes, headers: Mapping[bytes, bytes], secrets: Sequence[bytes]) -> bool:
    """Whether `raw` was signed with one of `secrets` by HMAC-SHA256. All are tried, in constant time; SHA-1 never counts."""
    given = headers.get(b"x-hub-signature-256", b"")
    if _SIGNATURE.fullmatch(given) is None:
        return False
    signature = bytes.fromhex(given[7:].decode())
    genuine = False
    for secret in secrets:
        genuine |= hmac.compare_digest(hmac.digest(secret, raw, "sha256"), signature)
    return genuine


def delivery(headers: Mapping[bytes, bytes]) -> Delivery:
    """The GUID and event name of a verified delivery; DeliveryRejected 400 when one is missing or odd."""
    event, guid = headers.get(b"x-github-event", b""), headers.get(b"x-github-delivery", b"")
    if _EVENT.fullmatch(event) is None:
        raise DeliveryRejected(
            400, "X-GitHub-Event is missing or malformed", hint="GitHub sends it with every delivery"
        )
    if _GUID.fullmatch(guid) is None:
        raise DeliveryRejected(
            400, "X-GitHub-Delivery is missing or malformed", hint="GitHub sends a GUID with every delivery"
        )
    return Delivery(NAME, guid.decode("ascii"), event.decode("ascii"))


def parse(event: str, raw: bytes, *, form: bool = False) -> Push | Ping | Ignored:
    """What the verified body of that event says, JSON or a form that holds it; DeliveryRejected 400 when it says nothing.

    For a tag `after` is the commit that it leads to, where the payload's own `after` may be the tag object. Of a key that
    is there twice the last counts: the signature vouches for whoever wrote it.
    """
    text = payload(raw) if form else raw
    try:
        found = json.decode(text, type=_EVENTS.get(event, _AnyEvent))
    except (DecodeError, UnicodeDecodeError, RecursionError) as exc:
        hint = "the body must be what GitHub sends with the event that X-GitHub-Event names"
        raise DeliveryRejected(400, f"the body does not look like a {event} event: {exc}", hint=hint) from exc
    if isinstance(found, _PushEvent):
        return _push(found)
    if isinstance(found, _PingEvent):
        return Ping()
    return Ignored(f"event {event} does not deploy")


def _push(event: _PushEvent) -> Push:
    head, after = event.head_commit, event.after
    if head is not None and event.ref.startswith("refs/tags/"):
        after = head.id
    created = event.created or not event.before.strip("0")
    unknown = event.forced or created or (not event.commits and event.before != event.after)
    message = "" if head is None else head.message
    return Push(
        repository=event.repository.full_name,
        ref=event.ref,
        before=event.before,
        after=after,
        created=created,
        deleted=event.deleted or not event.after.strip("0"),
        forced=event.forced,
        paths=None if unknown else _paths(event.commits),
        subject=printable(message.lstrip().partition("\n")[0].rstrip(), 200),
        author="" if head is None else printable(head.author.name, 100),
        skip=_skip(message),
    )


def _paths(commits: Sequence[_Commit]) -> frozenset[str] | None:
    """Every file that the commits touch; None when GitHub may have left some out."""
    found: set[str] = set()
    complete = len(commits) < MOST_COMMITS
    for commit in commits:
        files = commit.added + commit.removed + commit.modified
        complete = complete and len(files) < MOST_FILES
        found.update(files)
    return frozenset(found) if complete else None


def _skip(message: str) -> str | None:
    """The marker by which the committer asks for no deploy; a trailer counts in the last of several paragraphs."""
    if "[" in message and (found := _SKIP.search(message)):
        return found[0]
    *before, last = _PARAGRAPHS.split(message.rstrip())
    return "skip-checks: true" if before and _SKIP_TRAILER.search(last) else None
