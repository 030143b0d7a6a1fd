"""Estimators other than trees, as skops files or pickles. Only trusted types are read, and a pickle only by its hash.

Imported only for the models that need it, since it imports scikit-learn.
"""

import hashlib
import math
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io

from model_service.errors import ModelRejected, RequestRejected
from model_service.manifest import Manifest
from model_service.model import Prediction, PredictionWriter, Row

SKOPS_FILE = "model.skops"
PICKLE_FILE = "model.pkl"

# Types that skops itself does not trust. All are written in Python. Compiled types (trees, KD trees) are not in the list,
# because a forged one can crash the process. Users who trust the origin of a file name them with --trust or MODEL_TRUST.
TRUSTED = (
    "numpy.dtype",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)


class EstimatorModel:
    """Any scikit-learn estimator. A call costs much more than its rows, so merging calls is worth it."""

    costly_calls = True
    quick_rows = 0

    def __init__(self, manifest: Manifest, estimator: Any) -> None:
        self.manifest = manifest
        self._estimator = estimator
        self._writer = PredictionWriter(manifest)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each row, in order."""
        matrix = np.asarray(rows, dtype=np.float64)
        # The rows have been checked already. This configuration is valid for the calling thread only.
        with sklearn.config_context(assume_finite=True), np.errstate(all="ignore"):
            predicted = self._estimator.predict(matrix)
            probabilities = self._estimator.predict_proba(matrix).tolist() if self.manifest.probabilistic else None
        if self.manifest.kind == "regressor":
            return [self._writer.write_value(_finite(value)) for value in predicted.tolist()]
        indices = np.searchsorted(self._estimator.classes_, predicted).tolist()
        if probabilities is None:
            return [self._writer.write_class(index, ()) for index in indices]
        return [
            self._writer.write_class(index, tuple(map(_finite, row)))
            for index, row in zip(indices, probabilities, strict=True)
        ]


def write_estimator(estimator: Any, out: Path, form: str) -> str:
    """Writes a fitted estimator and returns the name of the file."""
    if form == "pickle":
        (out / PICKLE_FILE).write_bytes(pickle.dumps(estimator, protocol=5))
        return PICKLE_FILE
    skops.io.dump(estimator, out / SKOPS_FILE)
    return SKOPS_FILE


def read_estimator(manifest: Manifest, directory: Path, *, pickle_sha256: str | None, trusted: Sequence[str]) -> Any:
    """The estimator in a directory. Raises ModelRejected when its file, its types or the installed libraries do not fit."""
    for name in ("scikit-learn", "numpy"):
        installed, needed = metadata.version(name), manifest.libraries.get(name)
        if installed != needed:
            raise ModelRejected(
                f"trained with {name} {needed}, but {installed} is installed here",
                hint="install the versions in the manifest, or train again with these",
            )
    if manifest.format == "pickle":
        file, estimator = PICKLE_FILE, _read_pickle(manifest, directory, pickle_sha256)
    else:
        file, estimator = SKOPS_FILE, _read_skops(manifest, directory, trusted)
    with _rejecting_damage(file):
        _check_fits(manifest, estimator)
    return estimator


def untrusted_types(file: Path) -> list[str]:
    """The types in a skops file that neither skops nor this service trusts."""
    return [str(name) for name in skops.io.get_untrusted_types(file=file) if name not in TRUSTED]


def _read_skops(manifest: Manifest, directory: Path, trusted: Sequence[str]) -> Any:
    content = manifest.read_file(directory, SKOPS_FILE)
    with _rejecting_damage(SKOPS_FILE):
        unknown = set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED, *trusted}
    if unknown:
        raise ModelRejected(
            f"{SKOPS_FILE} holds types that are not trusted: {', '.join(sorted(unknown))}",
            hint="if you trained it yourself, name them in MODEL_TRUST (comma-separated) or with --trust",
        )
    with _rejecting_damage(SKOPS_FILE):
        return skops.io.loads(content, trusted=[*TRUSTED, *trusted])


@contextmanager
def _rejecting_damage(file: str) -> Iterator[None]:
    """Turns any exception into a ModelRejected: with a damaged file, the reader and the classes in it may raise anything."""
    try:
        yield
    except ModelRejected:
        raise
    except Exception as exc:
        raise ModelRejected(f"{file} cannot be read: {type(exc).__name__}: {exc}") from exc


def _read_pickle(manifest: Manifest, directory: Path, allowed_sha256: str | None) -> Any:
    if allowed_sha256 is None:
        raise ModelRejected(
            f"{PICKLE_FILE} is refused: loading a pickle runs code from the file",
            hint="train with --format skops; or allow this file with MODEL_ALLOW_PICKLE or --allow-pickle",
        )
    content = manifest.read_file(directory, PICKLE_FILE)
    if hashlib.sha256(content).hexdigest() != allowed_sha256.lower():
        raise ModelRejected(f"{PICKLE_FILE} is not the file that was allowed: its SHA-256 differs")
    with _rejecting_damage(PICKLE_FILE):
        return pickle.loads(content)  # noqa: S301  # the user allowed this content by its hash


def _check_fits(manifest: Manifest, estimator: Any) -> None:
    methods = ["predict", *(["predict_proba"] if manifest.probabilistic else [])]
    lacks_method = not all(callable(getattr(estimator, name, None)) for name in methods)
    if lacks_method or getattr(estimator, "n_features_in_", None) != len(manifest.features):
        raise ModelRejected("the estimator does not fit its manifest: other features, or it cannot predict")
    classes = getattr(estimator, "classes_", None)
    if manifest.kind == "classifier" and (classes is None or list(classes.tolist()) != list(manifest.classes)):
        raise ModelRejected("the estimator does not fit its manifest: other classes")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise RequestRejected(422, "the model has no finite answer for one of the rows")
    return float(value)
