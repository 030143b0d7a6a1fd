"""Makes a served model of one that MLflow logged: `python -m model_service.mlflow DIR --out DIR`.

The signature says the types of the columns; the order of the columns and the categories are those of the fitted estimator.
Loading runs no code from the files, but for a pickle that the user allows by its hash. Nothing of MLflow is needed.
"""

import argparse
import math
import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from model_service import boosters, data, mlflow_columns, mlflow_files, train
from model_service.categories import takes_texts
from model_service.columns import Unfit, example, reader
from model_service.errors import ModelRejected, ServiceError, explain, in_words
from model_service.estimator_files import load_pickle, load_skops
from model_service.fitting import Fitted, quiet, unwrapped, with_unknown
from model_service.frames import FrameMaker, only_column
from model_service.manifest import Feature, Kind, Manifest, Source
from model_service.mlflow_files import Logged
from model_service.task import Task

_MUST_AGREE = ("scikit-learn", "xgboost", "lightgbm", "catboost")
_ALSO_COMPARED = ("numpy", "pandas", "scipy", "skops")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 if the model was written, 1 if it cannot be served."""
    options = _parser().parse_args(arguments)
    try:
        written, notes = convert(options)
    except ServiceError as failure:
        print(explain(failure), file=sys.stderr)
        return 1
    for note in notes:
        print(f"note: {note}")
    print(f"{written.name} {written.version}: {written.estimator.type} as {written.format}, written to {options.out}")
    for line in train.serving_hints(written, options.out):
        print(line)
    return 0


def convert(options: argparse.Namespace) -> tuple[Manifest, list[str]]:
    """Writes the served model; what the user should know besides. Raises ModelRejected or TrainingFailed."""
    logged = mlflow_files.read(options.directory)
    notes = compare_versions(logged)
    with quiet():
        estimator = load(logged, options.trust, options.allow_pickle)
        fitted, more = describe(logged, estimator, _name(options.name, logged))
        written = train.write(
            fitted, options.out, form=options.format, metrics={}, commit=options.commit, origin=_origin(logged, fitted)
        )
    return written, notes + more


def compare_versions(logged: Logged) -> list[str]:
    """Differences between the libraries that the model was logged with and those here; nothing is loaded before.

    Raises ModelRejected if one of them decides what is predicted.
    """
    notes = []
    pinned = logged.versions | ({"xgboost": v} if (v := logged.versions.get("xgboost-cpu")) else {})
    for name in (*_MUST_AGREE, *_ALSO_COMPARED):
        logged_with = pinned.get(name)
        installed = _installed(name) if logged_with else None
        if logged_with == installed:
            continue
        what = f"the model was logged with {name} {logged_with}, but {installed or 'none'} is installed here"
        if name in _MUST_AGREE and _is_needed(name, logged):
            raise ModelRejected(
                what, hint=f"install {name}=={logged_with} (in an image, by REQUIREMENTS), or log the model again"
            )
        notes.append(what)
    return notes


def _is_needed(name: str, logged: Logged) -> bool:
    return name == "scikit-learn" if logged.flavor == "sklearn" else name == logged.flavor


def _installed(name: str) -> str | None:
    if name in boosters.FILES:
        return boosters.version_of(name)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def load(logged: Logged, trusted: Sequence[str], allowed_sha256: str | None) -> Any:
    """The fitted estimator. Types in a skops file are trusted by our own list, never by the one in MLmodel."""
    content = logged.content()
    if logged.form == "skops":
        return unwrapped(load_skops(content, trusted))
    if logged.form == "pickle":
        if allowed_sha256 is None:
            raise ModelRejected(
                f"{logged.file} is refused: loading a pickle runs code from the file",
                hint='log the model with serialization_format="skops"; or allow this file with --allow-pickle SHA256',
            )
        return unwrapped(load_pickle(content, logged.file, allowed_sha256))
    if not logged.model_class:
        raise ModelRejected(f"the model is no scikit-learn estimator of {logged.flavor}, which has no classes")
    is_class = logged.model_class.endswith("Classifier")
    try:
        return boosters.load(logged.flavor, content, is_classifier=is_class, classes=[])
    except ModelRejected:
        raise
    except Exception as exc:  # a damaged file may raise anything
        raise ModelRejected(f"{logged.file} cannot be read: {in_words(exc)}") from exc


def describe(logged: Logged, estimator: Any, name: str) -> tuple[Fitted, list[str]]:
    """The estimator with its columns and some rows of the example. Raises ModelRejected."""
    features = mlflow_columns.features_of(logged, estimator)
    if takes_texts(estimator):
        estimator = _of_a_frame(estimator, features[0])
    rows, notes = _rows(logged, features)
    features = mlflow_columns.with_missing(logged, estimator, features, rows)
    made = _made(features, rows)
    features = with_unknown(features, estimator, [list(rows[0])])
    kind, width = _kind(estimator, made)
    return (
        Fitted(
            task=Task(name, made, features=[feature.name for feature in features], estimator=estimator),
            seed=0,
            kind=kind,
            estimator=estimator,
            data=data.Data(made, None, features),
            features=features,
            training_rows=made,
            held_back_rows=made,
            held_back_answers=None,
            width=width,
        ),
        notes,
    )


def _of_a_frame(estimator: Any, feature: Feature) -> Any:
    """A pipeline of texts as one of a DataFrame with this column."""
    first = FunctionTransformer(only_column).fit(FrameMaker([feature]).frame([["text"], ["text"]]))
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("estimator", estimator)]
    return Pipeline([("column", first), *steps])


def _made(features: Sequence[Feature], rows: Sequence[Any]) -> Any:
    if features[0].dtype:
        return FrameMaker(features).frame(rows)
    return np.asarray(rows, dtype=np.float64)


def _rows(logged: Logged, features: Sequence[Feature]) -> tuple[list[list[Any]], list[str]]:
    """Checked rows of the example; without one, two that are made up."""
    names = logged.example_columns
    order = [names.index(feature.name) for feature in features if feature.name in names] if names else []
    found, refused = [], ""
    for row in logged.example if len(order) == len(features) or not names else []:
        given = [row[k] for k in order] if names else row
        if len(given) != len(features):
            refused = f"expected {len(features)} values in a row, got {len(given)}"
            continue
        try:
            found.append([_read(feature, value) for feature, value in zip(features, given, strict=True)])
        except (Unfit, ValueError) as exc:
            refused = str(exc)
    if found:
        return found, []
    why = f"the example does not fit the columns ({refused})" if refused else "the model has no example"
    made_up = [[reader(feature)(_made_up(feature, k)) for feature in features] for k in (0, 1)]
    return made_up, [f"{why}: the golden rows are made up, of zeros, ones and first categories"]


def _made_up(feature: Feature, k: int) -> Any:
    value = example(feature)
    if feature.type == "category":
        return feature.categories[k % len(feature.categories)]
    return k == 1 if feature.type == "boolean" else k if feature.type in ("number", "integer") else value


def _read(feature: Feature, value: Any) -> Any:
    """A value of the example, in which a missing number is NaN or null."""
    absent = value is None or (isinstance(value, float) and math.isnan(value))
    return reader(feature.model_copy(update={"missing": feature.missing or absent, "unknown": True}))(
        None if absent else value
    )


def _kind(estimator: Any, rows: Any) -> tuple[Kind, int]:
    """The estimator's kind, and its number of outputs."""
    if is_outlier_detector(estimator) or is_clusterer(estimator):
        return ("outlier_detector" if is_outlier_detector(estimator) else "clusterer"), 1
    name = type(estimator).__name__
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise ModelRejected(f"{name} is neither a classifier nor a regressor, a clusterer or an outlier detector")
    try:
        predicted = np.asarray(estimator.predict(rows))
    except Exception as exc:
        raise ModelRejected(
            f"{name} does not predict rows of these columns: {in_words(exc)}",
            hint="log the model with the signature and an example of what it was fitted with",
        ) from exc
    width = predicted.shape[1] if predicted.ndim == 2 else 1
    if width == 1:
        if is_classifier(estimator) and len(estimator.classes_) < 2:
            raise ModelRejected(f"{name} knows only one class: a classifier needs at least two")
        return ("classifier" if is_classifier(estimator) else "regressor"), 1
    if is_classifier(estimator) and not isinstance(estimator.classes_, list):
        raise ModelRejected(f"{name} has several outputs, but does not say the classes of each")
    return "multi_output", width


def _name(given: str | None, logged: Logged) -> str:
    name = given or logged.origin.get("name") or logged.directory.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(name)).strip("-._")[:100] or "model"


def _origin(logged: Logged, fitted: Fitted) -> dict[str, Any]:
    """The manifest's fields about the origin of a model that was not trained here."""
    about, origin = logged.about, logged.origin
    given = {key: origin.get(key) for key in ("registry", "name", "version", "alias", "model_id")}
    given["model_id"] = given["model_id"] or about.get("model_id")
    source = Source(
        **{key: str(value) for key, value in given.items() if value},
        **{key: str(about[key]) for key in ("run_id", "mlflow_version") if about.get(key)},
    )
    count = {"rows": 0, "training_rows": 0, "held_back_rows": 0}
    made: dict[str, Any] = {"source": source, "data": {"sha256": fitted.data.sha256(), **count}}
    try:
        created = datetime.fromisoformat(str(about.get("utc_time_created")))
        made["trained_at"] = f"{created.replace(tzinfo=None).isoformat(timespec='seconds')}+00:00"
    except ValueError:
        pass  # no time in MLmodel: that of the conversion
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service.mlflow",
        description=f"Makes a served model of one that MLflow logged. Python {platform.python_version()}.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the model's directory, with MLmodel in it")
    parser.add_argument("--name", help="name of the served model (default: the registry's, or the directory's)")
    parser.add_argument(
        "--trust",
        type=lambda text: [one.strip() for one in text.split(",") if one.strip()],
        default=os.environ.get("MODEL_TRUST", ""),
        metavar="TYPE,…",
        help="types that a skops file may hold besides the usual ones (default: MODEL_TRUST)",
    )
    parser.add_argument(
        "--allow-pickle",
        default=os.environ.get("MODEL_ALLOW_PICKLE") or None,
        metavar="SHA256",
        help="loads this pickle, which runs code from it (default: MODEL_ALLOW_PICKLE)",
    )
    train.add_output_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
