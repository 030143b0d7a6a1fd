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


def explain(failure: BaseException) -> str:
    """The text that a command prints for an expected failure: the message, and the hint if there is one."""
    hint = getattr(failure, "hint", "")
    return f"error: {failure}\nhint: {hint}" if hint else f"error: {failure}"


def in_words(failure: BaseException) -> str:
    """The class and the message of an exception of another library, as one line."""
    text = f"{type(failure).__name__}: {' '.join(str(failure).split())}".removesuffix(": ")
    return text if len(text) <= 1000 else f"{text[:999]}…"


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


class RowRefused(RequestRejected):
    """A 422: the estimator refuses a row that has passed the checks. `row` is its number in the request; None if it is alone."""

    def __init__(self, row: int | None, reason: str) -> None:
        which = "this row" if row is None else f"row {row}"
        super().__init__(422, f"the model refuses {which}: {reason}")
        self.row = row
        self.reason = reason

    def shifted(self, rows: int) -> "RowRefused":
        """The same refusal, of a row that comes after so many others."""
        return RowRefused(rows + (self.row or 0), self.reason) if rows else self
