"""The part of config.toml about the gates for an app's candidate: `[app.golden]`, `[app.evaluate]`, `[app.compare]`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from deployd.config.values import Duration, HttpPath, Inside, Section
from deployd.jsonpath import Pattern


def _json_path(text: str) -> str:
    Pattern(text)
    return text


def _data_file(path: str) -> str:
    return path if path.startswith("/") else TypeAdapter(Inside).validate_python(path)


def _requests(text: str) -> str:
    if text in {"golden", "recorded"} or (text.startswith("file:") and _data_file(text.removeprefix("file:"))):
        return text
    raise ValueError('expected "golden", "recorded" or "file:PATH"')


MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_weighted",
    "precision_macro",
    "recall_macro",
    "log_loss",
    "roc_auc",
    "mae",
    "mape",
    "median_absolute_error",
    "r2",
    "rmse",
]
OF_NUMBERS = frozenset({"mae", "mape", "median_absolute_error", "r2", "rmse"})
LOWER_IS_BETTER = frozenset({"log_loss", "mae", "mape", "median_absolute_error", "rmse"})
"""Their margins are shares of the live release's figure, since such a figure has no upper limit."""
OF_SCORES = frozenset({"log_loss", "roc_auc"})

DataFile = Annotated[str, AfterValidator(_data_file)]
JsonPath = Annotated[str, AfterValidator(_json_path)]
Share = Annotated[float, Field(ge=0, le=1)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CompareBy(Section):
    """A value of `rules`: how the values at a path are compared."""

    absolute: Tolerance | None = None
    relative: Tolerance | None = None
    ignore: bool = False
    set: bool = False
    top_k: Annotated[int, Field(ge=1)] | None = None
    label: str = "label"
    score: str = "score"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        numbers = self.top_k is None and (self.absolute is not None or self.relative is not None)
        if self.ignore + self.set + (self.top_k is not None) + numbers != 1:
            raise ValueError("expected one of ignore, set, top_k, or absolute and relative")
        return self


class Golden(Section):
    """`[app.golden]`"""

    file: Inside
    url: HttpPath = "/predict"
    tolerance: Tolerance = 1e-6
    rules: dict[JsonPath, CompareBy] = {}
    latency: Duration | None = None
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4


class Metric(Section):
    """A value of `metrics`: what a figure must be, of all rows and of each slice."""

    at_least: float | None = None
    at_most: float | None = None
    not_worse_than_live: Tolerance | None = None
    slice_at_least: float | None = None
    slice_at_most: float | None = None
    slice_not_worse_than_live: Tolerance | None = None


class Evaluate(Section):
    """`[app.evaluate]`"""

    data: DataFile
    target: Annotated[str, Field(min_length=1)]
    url: HttpPath = "/predict"
    request: Annotated[str, Field(min_length=1)] = "instances"
    rows: Literal["objects", "lists"] = "objects"
    prediction: JsonPath | None = None
    probabilities: JsonPath = "$.predictions[*].probabilities"
    drop: tuple[str, ...] = ()
    metrics: Annotated[dict[MetricName, Metric], Field(min_length=1)]
    by: tuple[str, ...] = ()
    strict: bool = False
    batch: Annotated[int, Field(ge=1, le=10_000)] = 32
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    python: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numeric = [name for name in self.metrics if name in OF_NUMBERS]
        if numeric and len(numeric) < len(self.metrics):
            raise ValueError(f"metrics: {numeric[0]} is of numbers, the others are of labels")
        for name, limits in self.metrics.items():
            wrong, right = ("least", "most") if name in LOWER_IS_BETTER else ("most", "least")
            if getattr(limits, f"at_{wrong}") is not None or getattr(limits, f"slice_at_{wrong}") is not None:
                raise ValueError(f"metrics: {name} is better when it is {_BETTER[right]}, so it takes at_{right}")
            sliced = (limits.slice_at_least, limits.slice_at_most, limits.slice_not_worse_than_live)
            if not self.by and any(value is not None for value in sliced):
                raise ValueError(f'metrics: {name} has limits for slices, so "by" must name a column')
        return self

    @property
    def numeric(self) -> bool:
        """The target is a number, not a label."""
        return any(name in OF_NUMBERS for name in self.metrics)

    @property
    def predicted(self) -> str:
        """The path of the predictions in an answer."""
        return self.prediction or f"$.predictions[*].{'value' if self.numeric else 'label'}"


class Compare(Section):
    """`[app.compare]`"""

    requests: Annotated[str, AfterValidator(_requests)] = "golden"
    warn: Share = 0.01
    block: Share = 0.10
    tolerance: Tolerance | None = None
    rules: dict[JsonPath, CompareBy] = {}
    max_latency_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    most: Annotated[int, Field(ge=1, le=10_000)] = 200


_BETTER = {"least": "larger", "most": "smaller"}
