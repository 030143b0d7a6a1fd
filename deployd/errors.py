"""The expected failures, named by who must act. Any other exception is a bug: it ends the daemon with a traceback.

DeploydError
├── ConfigError        the operator: the daemon does not start (exit 78) or keeps the old config
├── DeliveryRejected   the sender of a webhook: 4xx, or 503 with Retry-After
├── RequestRefused     the caller of the API: 404, 409, ...
├── BuildFailed        the committer: the log says why
├── RolloutFailed      the committer: the previous release still serves
└── Unavailable        nobody: engine, remote or cluster cannot be reached; retried with backoff
"""

from collections.abc import Callable


class DeploydError(Exception):
    """An expected failure, shown without a traceback as message and hint."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def mask(self, redact: Callable[[str], str]) -> None:
        """Mask the secrets in message and hint: the store keeps both, and more people read them than read a log."""
        self.message, self.hint = redact(self.message), redact(self.hint)
        self.args = (self.message,)


class ConfigError(DeploydError):
    """The configuration is invalid; the message starts with the path of the wrong key."""


class DeliveryRejected(DeploydError):
    """A webhook delivery is rejected; `status` is the HTTP status, `retry_after` is in seconds."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after


class RequestRefused(DeploydError):
    """An API request is refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class BuildFailed(DeploydError):
    """The commit has no image: it cannot be fetched or built, or needs a feature that the builder lacks."""


class RolloutFailed(DeploydError):
    """The image was built but failed its gates or its rollout; the previous release still serves."""


class Unavailable(DeploydError):
    """Engine, git remote, registry, cluster or disk does not answer or fails; trying again later may help."""
