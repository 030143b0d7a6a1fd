"""Files of estimators other than trees: skops files or pickles. Only trusted types are read, and a pickle only by its hash.

Imported only for the models that need it, since it imports scikit-learn.
"""

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import skops.io
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection._search import BaseSearchCV

from model_service.boosters import FILES, package_of, read_booster, split, version_of, write_booster
from model_service.errors import ModelRejected, TrainingFailed, in_words
from model_service.manifest import Manifest
from model_service.tree_check import CHECKED, check_trees, held_by

SKOPS_FILE = "model.skops"
PICKLE_FILE = "model.pkl"

# Types that skops itself does not trust. All but the last are written in Python; a forged tree could crash the process, so
# every tree is checked before it is used. Other compiled types (KD trees) are not in the list. Users who trust the origin of a
# file name them with --trust or MODEL_TRUST.
TRUSTED = (
    "functools.partial",  # its function is a type of its own, which must be trusted
    "model_service.frames.only_column",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
    *CHECKED,
)


def write_estimator(estimator: Any, out: Path, form: str) -> list[str]:
    """Writes a fitted estimator and returns the names of its files. Raises TrainingFailed."""
    with _refusing(estimator):
        if form == "pickle":
            (out / PICKLE_FILE).write_bytes(pickle.dumps(estimator, protocol=5))
            return [PICKLE_FILE]
        first, last = split(estimator) if form in FILES else (estimator, None)
        if first is not None:
            skops.io.dump(first, out / SKOPS_FILE)
        files = [SKOPS_FILE] if first is not None else []
        return files if last is None else [*files, write_booster(last, out)]


def hash_of(estimator: Any) -> str:
    """A hash of an estimator's content, the same for every fit with the same data and seed. Raises TrainingFailed.

    It takes out what differs from run to run and nothing needs for predictions: the times of searches, and the address of
    the stop words.
    """
    for held in held_by(estimator):
        if isinstance(held, BaseSearchCV):
            vars(held).pop("cv_results_", None)
        if isinstance(held, CountVectorizer):
            vars(held).pop("_stop_words_id", None)
    with _refusing(estimator):
        if package_of(estimator):
            return _hash_of_booster(estimator)
        try:
            content = str(joblib.hash(estimator, hash_name="sha1")).encode()
        except ValueError:  # joblib does not know every kind of array, such as those with a mask
            content = pickle.dumps(estimator, protocol=5)
    return hashlib.sha256(content).hexdigest()


def _hash_of_booster(estimator: Any) -> str:
    first, last = split(estimator)
    with TemporaryDirectory() as aside:
        content = (Path(aside) / write_booster(last, Path(aside))).read_bytes()
    return hashlib.sha256((hash_of(first) if first is not None else "").encode() + content).hexdigest()


@contextmanager
def _refusing(estimator: Any) -> Iterator[None]:
    """Turns any exception into a TrainingFailed: classes of the user may raise anything."""
    try:
        yield
    except TrainingFailed:
        raise
    except Exception as exc:
        raise TrainingFailed(
            f"{type(estimator).__name__} cannot be written: {in_words(exc)}",
            hint="use named functions of a module in place of lambdas and functions inside functions",
        ) from exc


def read_estimator(manifest: Manifest, directory: Path, *, pickle_sha256: str | None, trusted: Sequence[str]) -> Any:
    """The estimator in a directory. Raises ModelRejected when its file, its types or the installed libraries do not fit."""
    _check_versions(manifest)
    if manifest.format == "pickle":
        file, estimator = PICKLE_FILE, _read_pickle(manifest, directory, pickle_sha256)
    elif manifest.format in FILES:
        file = FILES[manifest.format]
        first = _read_skops(manifest, directory, trusted) if SKOPS_FILE in manifest.files else None
        content = manifest.read_file(directory, file)
        with _rejecting_damage(file):
            estimator = read_booster(manifest, content, first)
    else:
        file, estimator = SKOPS_FILE, _read_skops(manifest, directory, trusted)
    with _rejecting_damage(file):
        _check_fits(manifest, estimator)
    return estimator


def _check_versions(manifest: Manifest) -> None:
    for name in ("scikit-learn", "numpy", "pandas", *FILES):
        needed = manifest.libraries.get(name)
        if needed is None and name not in ("scikit-learn", "numpy"):
            continue
        installed = version_of(name) if name in FILES else metadata.version(name)
        if installed != needed:
            raise ModelRejected(
                f"trained with {name} {needed}, but {installed} is installed here",
                hint="install the versions in the manifest, or train again with these",
            )


def untrusted_types(file: Path) -> list[str]:
    """The types in a skops file that neither skops nor this service trusts."""
    return [str(name) for name in skops.io.get_untrusted_types(file=file) if name not in TRUSTED]


def _read_skops(manifest: Manifest, directory: Path, trusted: Sequence[str]) -> Any:
    return load_skops(manifest.read_file(directory, SKOPS_FILE), trusted)


def load_skops(content: bytes, trusted: Sequence[str]) -> Any:
    """The estimator in a skops file of which only trusted types are read. Raises ModelRejected."""
    with _rejecting_damage(SKOPS_FILE):
        unknown = set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED, *trusted}
    if unknown:
        raise ModelRejected(
            f"{SKOPS_FILE} holds types that are not trusted: {', '.join(sorted(unknown))}",
            hint="if you trained it yourself, name them in MODEL_TRUST (comma-separated) or with --trust",
        )
    with _rejecting_damage(SKOPS_FILE):
        estimator = skops.io.loads(content, trusted=[*TRUSTED, *trusted])
        check_trees(estimator)
    return estimator


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
    return load_pickle(manifest.read_file(directory, PICKLE_FILE), PICKLE_FILE, allowed_sha256)


def load_pickle(content: bytes, file: str, allowed_sha256: str) -> Any:
    """The estimator in a pickle that the user has allowed by its hash. Raises ModelRejected."""
    if hashlib.sha256(content).hexdigest() != allowed_sha256.lower():
        raise ModelRejected(f"{file} is not the file that was allowed: its SHA-256 differs")
    with _rejecting_damage(file):
        return pickle.loads(content)  # noqa: S301  # the user allowed this content by its hash


def _check_fits(manifest: Manifest, estimator: Any) -> None:
    methods = ["predict"]
    if manifest.probabilistic or any(output.probabilistic for output in manifest.outputs):
        methods.append("predict_proba")
    if manifest.decision:
        methods.append("decision_function")
    lacks_method = not all(callable(getattr(estimator, name, None)) for name in methods)
    # A Pipeline that begins with a vectorizer of text knows no number of columns.
    width = getattr(estimator, "n_features_in_", None)
    if lacks_method or (width is not None and width != len(manifest.features)):
        raise ModelRejected("the estimator does not fit its manifest: other features, or it cannot predict")
    classes = getattr(estimator, "classes_", None)
    if manifest.kind == "classifier" and (classes is None or list(classes.tolist()) != list(manifest.classes)):
        raise ModelRejected("the estimator does not fit its manifest: other classes")
