"""The expected failures, named by who must act; anything else is a bug and ends the daemon with a traceback.

DeploydError
├── ConfigError        the operator: the daemon does not start (exit 78) or keeps the old config
├── DeliveryRejected   the sender of a webhook: 4xx, or 503 with Retry-After
├── RequestRefused     the caller of the API: 404, 409, ...
├── BuildFailed        the committer: the log says why
├── RolloutFailed      the committer: the previous release still serves
└── Unavailable        nobody: engine, remote or cluster is away; retried with backoff
"""

from collections.abc import Callable


class DeploydError(Exception):
    """An expected failure, shown without a traceback as message and hint."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def mask(self, redact: Callable[[str], str]) -> None:
        """Take the secrets out of what it says: a reason is kept, and read by more people than a log."""
        self.message, self.hint = redact(self.message), redact(self.hint)
        self.args = (self.message,)


class ConfigError(DeploydError):
    """The configuration cannot be used; the message starts with the path of the wrong key."""


class DeliveryRejected(DeploydError):
    """A webhook delivery that is not taken; `status` is the HTTP answer, `retry_after` is in seconds."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after


class RequestRefused(DeploydError):
    """An API request that cannot be served; `status` is the HTTP answer."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class BuildFailed(DeploydError):
    """The commit gives no image: it does not fetch, does not build, or asks for what the builder cannot do."""


class RolloutFailed(DeploydError):
    """The image was built but did not prove itself; what served before still serves."""


class Unavailable(DeploydError):
    """Something outside is away (engine, git remote, registry, cluster, disk); trying again later may help."""
