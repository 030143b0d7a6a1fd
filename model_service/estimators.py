"""Estimators that are not trees: written by skops, read back with a list of trusted types; pickles only by flag and hash.

Imported only where a model needs it, since it brings scikit-learn along.
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
from model_service.model import Answer, Row, Writer

SKOPS_FILE = "model.skops"
PICKLE_FILE = "model.pkl"

# Beyond what skops trusts by itself. All are written in Python. Compiled ones (trees, KD trees) are left out on purpose: a
# forged one can crash the process; whoever trusts the file's origin names them (--trust, MODEL_TRUST).
TRUSTED = (
    "numpy.dtype",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)


class EstimatorModel:
    """Any scikit-learn estimator. A call costs much more than its rows, so calls are worth merging."""

    per_call = True
    quick_rows = 0

    def __init__(self, manifest: Manifest, estimator: Any) -> None:
        self.manifest = manifest
        self._estimator = estimator
        self._writer = Writer(manifest)

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each row, in order."""
        matrix = np.asarray(rows, dtype=np.float64)
        # Rows were checked when they came in. The setting is the calling thread's own.
        with sklearn.config_context(assume_finite=True), np.errstate(all="ignore"):
            said = self._estimator.predict(matrix)
            shares = self._estimator.predict_proba(matrix).tolist() if self.manifest.probabilistic else None
        if self.manifest.kind == "regressor":
            return [self._writer.valued(_finite(value)) for value in said.tolist()]
        found = np.searchsorted(self._estimator.classes_, said).tolist()
        if shares is None:
            return [self._writer.classified(index, ()) for index in found]
        return [
            self._writer.classified(index, tuple(map(_finite, share)))
            for index, share in zip(found, shares, strict=True)
        ]


def write_estimator(estimator: Any, out: Path, form: str) -> str:
    """Writes a fitted estimator; the name of the file."""
    if form == "pickle":
        (out / PICKLE_FILE).write_bytes(pickle.dumps(estimator, protocol=5))
        return PICKLE_FILE
    skops.io.dump(estimator, out / SKOPS_FILE)
    return SKOPS_FILE


def read_estimator(manifest: Manifest, directory: Path, *, pickle_sha256: str | None, trusted: Sequence[str]) -> Any:
    """The estimator of a directory, if its file, its types and this machine's libraries allow. Raises ModelRejected."""
    for name in ("scikit-learn", "numpy"):
        here, there = metadata.version(name), manifest.libraries.get(name)
        if here != there:
            raise ModelRejected(
                f"trained with {name} {there}, but {here} is installed here",
                hint="install the versions of the manifest, or train again with these",
            )
    if manifest.format == "pickle":
        file, estimator = PICKLE_FILE, _read_pickle(manifest, directory, pickle_sha256)
    else:
        file, estimator = SKOPS_FILE, _read_skops(manifest, directory, trusted)
    with _damage_named(file):
        _check_fits(manifest, estimator)
    return estimator


def untrusted_types(file: Path) -> list[str]:
    """The types in a skops file that are trusted neither by skops nor by us."""
    return [str(name) for name in skops.io.get_untrusted_types(file=file) if name not in TRUSTED]


def _read_skops(manifest: Manifest, directory: Path, trusted: Sequence[str]) -> Any:
    content = manifest.checked(directory, SKOPS_FILE)
    with _damage_named(SKOPS_FILE):
        unknown = set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED, *trusted}
    if unknown:
        raise ModelRejected(
            f"{SKOPS_FILE} holds types that are not trusted: {', '.join(sorted(unknown))}",
            hint="if you trained it yourself, name them in MODEL_TRUST (comma-separated) or with --trust",
        )
    with _damage_named(SKOPS_FILE):
        return skops.io.loads(content, trusted=[*TRUSTED, *trusted])


@contextmanager
def _damage_named(file: str) -> Iterator[None]:
    """A damaged file makes its reader, and the classes in it, raise whatever they please."""
    try:
        yield
    except ModelRejected:
        raise
    except Exception as exc:
        raise ModelRejected(f"{file} cannot be read: {type(exc).__name__}: {exc}") from exc


def _read_pickle(manifest: Manifest, directory: Path, allowed: str | None) -> Any:
    if allowed is None:
        raise ModelRejected(
            f"{PICKLE_FILE} is refused: loading a pickle runs code from the file",
            hint="train with --format skops; or allow this very file by MODEL_ALLOW_PICKLE or --allow-pickle",
        )
    content = manifest.checked(directory, PICKLE_FILE)
    if hashlib.sha256(content).hexdigest() != allowed.lower():
        raise ModelRejected(f"{PICKLE_FILE} is not the file that was allowed: its SHA-256 differs")
    with _damage_named(PICKLE_FILE):
        return pickle.loads(content)  # noqa: S301  # this very content was allowed by its hash


def _check_fits(manifest: Manifest, estimator: Any) -> None:
    wanted = ["predict", *(["predict_proba"] if manifest.probabilistic else [])]
    lacking = [name for name in wanted if not callable(getattr(estimator, name, None))]
    if lacking or getattr(estimator, "n_features_in_", None) != len(manifest.features):
        raise ModelRejected("the estimator does not fit its manifest: other features, or it cannot predict")
    classes = getattr(estimator, "classes_", None)
    if manifest.kind == "classifier" and (classes is None or list(classes.tolist()) != list(manifest.classes)):
        raise ModelRejected("the estimator does not fit its manifest: other classes")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise RequestRejected(422, "the model has no finite answer for one of the rows")
    return float(value)
