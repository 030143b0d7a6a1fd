"""The expected failures of the service, each with a message and a hint, and who must act. Any other exception is a bug.

ServiceError
├── TrainingFailed    whoever trains: the data, the estimator or the accuracy is not good enough
├── ModelRejected     the operator: the files are not a model that may be served
└── RequestRejected   the caller: a 4xx (or 503, 504) that names the field and what was expected
"""


class ServiceError(Exception):
    """An expected failure, shown without a traceback as message and hint."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TrainingFailed(ServiceError):
    """No model was written, because it cannot be trained or is not good enough."""


class ModelRejected(ServiceError):
    """The model's files are missing, damaged, forged, or made for other libraries."""


class RequestRejected(ServiceError):
    """A request that gets no prediction; `status` is the HTTP answer, `retry_after` is in seconds."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
