"""GitHub's webhooks. What GitHub does not sign (event name, GUID) is checked against the body's shape and a narrow pattern."""

from collections.abc import Sequence
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from deployd.delivery import Delivery, Ignored, Ping, Proposal, Push
from deployd.forges.body import AnyEvent, Sha, read
from deployd.forges.forge import Headers
from deployd.forges.headers import EVENT, GUID, named
from deployd.forges.signature import signed, usable

_SHOWN = frozenset({"opened", "reopened", "synchronize"})  # a pull request has a commit that it did not have before


class _Head(Struct):
    id: Sha


class _Repository(Struct):
    full_name: Annotated[str, Meta(pattern=r"\A[^/\s]{1,100}/[^/\s]{1,100}\Z")]
    html_url: Annotated[str, Meta(pattern=r"\Ahttps?://[0-9A-Za-z.-]{1,255}(?::[0-9]{1,5})?/")]


class _PushEvent(Struct):
    """The fields that are read of a push."""

    ref: str
    after: Sha
    deleted: bool
    head_commit: _Head | None
    repository: _Repository


class _PingEvent(Struct):
    zen: str
    hook_id: int


class _PullRequestEvent(Struct):
    """The fields that are read of any event of a pull request."""

    action: str = ""


class _Named(Struct):
    full_name: str


class _Side(Struct):
    """One side of a pull request; `repo` is null when the fork is gone."""

    ref: str
    sha: Sha
    repo: _Named | None = None


class _User(Struct):
    login: str


class _PullRequest(Struct):
    number: int
    head: _Side
    base: _Side
    title: str | None = None
    user: _User | None = None


class _ShownPullRequest(Struct):
    """The fields that are read of a pull request with a new commit."""

    pull_request: _PullRequest
    repository: _Repository


class GitHub:
    """GitHub, in the cloud or on a server of one's own."""

    name: ClassVar[str] = "github"
    # Beside our own, the path of the old recipe and the one that Jenkins uses: no hook has to be changed.
    paths: ClassVar[Sequence[str]] = ("/webhooks/github", "/github_webhook", "/github-webhook")
    forms: ClassVar[bool] = True
    doubt: ClassVar[str] = "the webhook's secret must be one of secrets in [github], and its body must arrive unchanged"

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = usable(secrets)

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """By HMAC-SHA256; SHA-1 never counts."""
        return signed(raw, headers.get(b"x-hub-signature-256", b""), self._secrets)

    def delivery(self, headers: Headers) -> Delivery:
        """By X-GitHub-Delivery and X-GitHub-Event."""
        event = named(headers, "X-GitHub-Event", EVENT, "GitHub")
        return Delivery(self.name, named(headers, "X-GitHub-Delivery", GUID, "GitHub"), event)

    def parse(self, event: str, text: bytes) -> Push | Proposal | Ping | Ignored:
        """A push, a commit of a pull request, a ping, or an event that deploys nothing."""
        match event:
            case "push":
                return _push(read(text, event, _PushEvent, "X-GitHub-Event"))
            case "ping":
                read(text, event, _PingEvent, "X-GitHub-Event")
                return Ping()
            case "pull_request" if read(text, event, _PullRequestEvent, "X-GitHub-Event").action in _SHOWN:
                return _proposal(read(text, event, _ShownPullRequest, "X-GitHub-Event"))
            case _:
                read(text, event, AnyEvent, "X-GitHub-Event")
                return Ignored(f"event {event} does not deploy")


def _name(repository: _Repository) -> str:
    return f"{urlsplit(repository.html_url).hostname}/{repository.full_name}".lower()


def _push(event: _PushEvent) -> Push:
    """A tag's commit is the one that it leads to, where `after` may be the tag object."""
    tag, head = event.ref.startswith("refs/tags/"), event.head_commit
    return Push(
        repository=_name(event.repository),
        ref=event.ref,
        commit=head.id if tag and head is not None else event.after,
        deleted=event.deleted or not event.after.strip("0"),
    )


def _proposal(event: _ShownPullRequest) -> Proposal:
    """A commit counts as one of a fork unless it is certain that it is not."""
    shown, own = event.pull_request, event.repository.full_name.lower()
    whose = shown.head.repo.full_name if shown.head.repo is not None else "a repository that is gone"
    return Proposal(
        repository=_name(event.repository),
        number=shown.number,
        ref=f"refs/heads/{shown.base.ref}",
        commit=shown.head.sha,
        title=shown.title or "",
        author=shown.user.login if shown.user is not None else "",
        fork=None if whose.lower() == own else whose,
    )
