"""The description of a model, `manifest.json`: training writes it, serving reads it, /version and /manifest show it.

Owns the format of that file, and the hashes of the other files. Knows nothing of estimators or requests.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from model_service.errors import ModelRejected

FILE = "manifest.json"
Kind = Literal["classifier", "regressor", "clusterer", "outlier_detector", "multi_output"]
Type = Literal["number", "integer", "boolean", "category", "text", "datetime"]
Value = bool | int | float | str
Format = Literal["trees", "skops", "pickle", "xgboost", "lightgbm", "catboost"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Feature(_Part):
    """One column of the input: its name, type and unit, and what the training data had in it.

    `minimum`, `maximum`, `mean`: of numbers, whole numbers and booleans. `earliest`, `latest`: of dates. `categories`, with the
    number of rows of each in `counts`: of categories; `unknown`: the estimator answers for other values too. `missing`: values
    may be missing. Of a model that came without its training data, what is measured on it is not there.

    `dtype` is the type of the column in the estimator's DataFrame; it is empty if the estimator takes an array. In a column of
    objects, `null` stands for a missing value.
    """

    name: str = Field(min_length=1, max_length=200)
    type: Type = "number"
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    earliest: str | None = None
    latest: str | None = None
    categories: list[Value] = []
    counts: list[int] = []
    ordered: bool = False
    unknown: bool = False
    missing: bool = False
    dtype: str = ""
    null: Literal["None", "nan", "NA"] = "None"

    @model_validator(mode="after")
    def _check_consistency(self) -> "Feature":
        if self.type == "category" and not self.categories:
            raise ValueError(f"{self.name}: a column of categories has at least one of them")
        return self


class Output(_Part):
    """One output of a model with several: its name, and its classes with a label for each if it is a classifier's."""

    name: str = Field(min_length=1, max_length=200)
    kind: Literal["classifier", "regressor"]
    probabilistic: bool = False
    classes: list[Value] = []
    labels: list[str] = []


class Data(_Part):
    """The training data: SHA-256 over rows and answers, and how they were split to measure the quality.

    `final_fit`: after that, the estimator was fitted again with all rows.
    """

    sha256: str
    rows: int
    training_rows: int
    held_back_rows: int
    final_fit: bool = False


class Source(_Part):
    """Where a model comes from that was trained elsewhere: the registry's name, version and alias, as far as they are known."""

    registry: str | None = None
    name: str | None = None
    version: str | None = None
    alias: str | None = None
    model_id: str | None = None
    run_id: str | None = None
    mlflow_version: str | None = None


class Estimator(_Part):
    """The class that was fitted (dotted path) and its parameters as text."""

    type: str
    parameters: dict[str, str]


class Manifest(_Part):
    """Provenance, input, output and quality of one model. `version` is a hash of all that decides its predictions.

    `outputs` has the outputs of a model with several; the other models have `classes` and `labels`, or none. `decision` is the
    number of decision values of each row, if the estimator has no probabilities but these.

    `dirty`: whether the working tree differed from the commit; None if that is unknown. `code_sha256` is a hash of this package
    and of the task's module. `source` is there if the model was not trained here, but brought by `model_service.mlflow`; then
    there is no training data.
    """

    format: Format
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    version: str = Field(pattern=r"^[0-9a-f]{12}$")
    content_sha256: str
    kind: Kind
    probabilistic: bool
    about: str = ""
    commit: str | None
    dirty: bool | None
    code_sha256: str
    trained_at: str
    command: list[str]
    seed: int
    data: Data
    estimator: Estimator
    libraries: dict[str, str]
    classes: list[Value]
    labels: list[str]
    outputs: list[Output] = []
    decision: int = 0
    features: list[Feature] = Field(min_length=1, max_length=100_000)
    metrics: dict[str, JsonValue]
    files: dict[str, str]
    source: Source | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> "Manifest":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("two features have the same name")
        if len(self.classes) != len(self.labels) or len(set(self.labels)) != len(self.labels):
            raise ValueError("each class needs a label of its own")
        if len(self.classes) == 1 or (self.kind == "classifier") != bool(self.classes):
            raise ValueError("a classifier has at least two classes, any other model none")
        if self.probabilistic and self.kind != "classifier":
            raise ValueError(f"a {self.kind} gives no probabilities")
        if (self.kind == "multi_output") != bool(self.outputs):
            raise ValueError("a model with several outputs describes them, and no other model does")
        return self

    @property
    def takes_frame(self) -> bool:
        """Whether the estimator takes a DataFrame; if not, it takes an array."""
        return bool(self.features[0].dtype)

    @property
    def only_numbers(self) -> bool:
        """Whether every column holds numbers, or booleans, which count as 0 and 1."""
        return all(feature.type in ("number", "integer", "boolean") for feature in self.features)

    @property
    def platform(self) -> str:
        """The platform of the model in the Open Inference Protocol."""
        return f"sklearn_{self.format}" if self.format in ("trees", "skops", "pickle") else self.format

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """The manifest in a model's directory. Raises ModelRejected."""
        try:
            return cls.model_validate_json((directory / FILE).read_bytes())
        except OSError as exc:
            raise ModelRejected(f"no {FILE} in {directory}: {exc.strerror}", hint=_TRAIN) from exc
        except (ValidationError, RecursionError) as exc:
            raise ModelRejected(f"{FILE} is not usable: {exc}", hint=_TRAIN) from exc

    def read_file(self, directory: Path, name: str) -> bytes:
        """The content of one of the model's files, if it is what training wrote. Raises ModelRejected."""
        try:
            content = (directory / name).read_bytes()
        except OSError as exc:
            raise ModelRejected(f"cannot read {name}: {exc.strerror}", hint=_TRAIN) from exc
        if self.files.get(name) != hashlib.sha256(content).hexdigest():
            raise ModelRejected(f"{name} is not the file that training wrote: its SHA-256 differs", hint=_TRAIN)
        return content

    def summary(self) -> dict[str, Any]:
        """The summary of the model that /version shows."""
        return {
            "name": self.name,
            "version": self.version,
            "trained_at": self.trained_at,
            "metrics": self.metrics,
            "data": self.data.model_dump(),
            "estimator": self.estimator.type,
            "seed": self.seed,
            "libraries": self.libraries,
            **({"source": self.source.model_dump()} if self.source else {}),
        }


_TRAIN = "python -m model_service.train --out DIR writes a new model"
