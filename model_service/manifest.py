"""The description of a model, `manifest.json`: training writes it, serving reads it, /version and /manifest show it.

Owns the format of that file, and the hashes of the other files. Knows nothing of estimators or requests.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from model_service.errors import ModelRejected

FILE = "manifest.json"
Kind = Literal["classifier", "regressor"]
Format = Literal["trees", "skops", "pickle"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Feature(_Part):
    """One column of the input: its name, its unit, and its range in the training data. `missing`: values may be missing."""

    name: str = Field(min_length=1, max_length=200)
    unit: str = ""
    minimum: float
    maximum: float
    mean: float
    missing: bool = False


class Data(_Part):
    """The training data: SHA-256 over rows and answers, and how they were split."""

    sha256: str
    rows: int
    training_rows: int
    held_back_rows: int


class Estimator(_Part):
    """The class that was fitted (dotted path) and its parameters as text."""

    type: str
    parameters: dict[str, str]


class Manifest(_Part):
    """Provenance, input, output and quality of one model. `version` is a hash of all that decides its predictions.

    `dirty`: whether the working tree differed from the commit; None if that is unknown. `code_sha256` is a hash of this package
    and of the task's module.
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
    classes: list[int | str | bool]
    labels: list[str]
    features: list[Feature] = Field(min_length=1, max_length=100_000)
    metrics: dict[str, JsonValue]
    files: dict[str, str]

    @model_validator(mode="after")
    def _check_consistency(self) -> "Manifest":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("two features have the same name")
        if len(self.classes) != len(self.labels) or len(set(self.labels)) != len(self.labels):
            raise ValueError("each class needs a label of its own")
        if len(self.classes) == 1 or (self.kind == "classifier") != bool(self.classes):
            raise ValueError("a classifier has at least two classes, a regressor none")
        if self.probabilistic and self.kind == "regressor":
            raise ValueError("a regressor gives no probabilities")
        return self

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
        """What /version shows of the model."""
        return {
            "name": self.name,
            "version": self.version,
            "trained_at": self.trained_at,
            "metrics": self.metrics,
            "data": self.data.model_dump(),
            "estimator": self.estimator.type,
            "seed": self.seed,
            "libraries": self.libraries,
        }


_TRAIN = "python -m model_service.train --out DIR writes a new model"
