"""Models of XGBoost, LightGBM and CatBoost in the packages' own files, which hold no code; alone or as the last of a pipeline.

No package is imported unless the model is one of its own.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from model_service.errors import ModelRejected, TrainingFailed
from model_service.manifest import Manifest

FILES = {"xgboost": "model.ubj", "lightgbm": "model.txt", "catboost": "model.cbm"}
_MODULES = {"xgboost.sklearn": "xgboost", "lightgbm.sklearn": "lightgbm", "catboost.core": "catboost"}


class Booster:
    """A model that was read: the fitted steps before it, if it was the last of a pipeline, and what predicts.

    It predicts as the package's estimator does. `classes_` are those of a classifier.
    """

    def __init__(self, first: Any, last: Any, classes: Any) -> None:
        self._first = first
        self._last = last
        self.classes_ = classes
        if first is not None and hasattr(first, "n_features_in_"):
            self.n_features_in_ = first.n_features_in_

    def predict(self, rows: Any) -> Any:
        """The classes or values of some rows."""
        return self._last.predict(self._input(rows))

    def predict_proba(self, rows: Any) -> Any:
        """The probability of each class."""
        return self._last.predict_proba(self._input(rows))

    def _input(self, rows: Any) -> Any:
        return rows if self._first is None else self._first.transform(rows)


def split(estimator: Any) -> tuple[Any, Any]:
    """The fitted steps before the last one of a pipeline, or None, and what predicts."""
    if type(estimator) is Pipeline and len(estimator.steps) > 1:
        return estimator[:-1], estimator.steps[-1][1]
    return None, estimator


def package_of(estimator: Any) -> str | None:
    """The package whose own file holds this estimator; None for every other estimator, also for subclasses."""
    return _MODULES.get(type(split(estimator)[1]).__module__)


def version_of(package: str) -> str:
    """The installed version of a package. Raises ModelRejected."""
    return str(_import(package).__version__)


def write_booster(estimator: Any, out: Path) -> str:
    """Writes the package's own file of a fitted estimator, and returns its name. Raises TrainingFailed."""
    package = str(package_of(estimator))
    _check_can_be_written(package, estimator)
    file = out / FILES[package]
    match package:
        case "xgboost":
            file.write_bytes(estimator.get_booster().save_raw("ubj"))
        case "lightgbm":
            file.write_text(estimator.booster_.model_to_string())
        case _:
            for name in ("model_guid", "train_finish_time"):  # else the same training would give another file
                estimator.get_metadata()[name] = ""
            estimator.save_model(str(file))
    return FILES[package]


def read_booster(manifest: Manifest, content: bytes, first: Any) -> Booster:
    """The model in the content of the package's own file; `first` are the fitted steps before it. Raises ModelRejected."""
    outputs = manifest.outputs
    is_classifier = manifest.kind == "classifier" or bool(outputs and outputs[0].kind == "classifier")
    last = load(manifest.format, content, is_classifier=is_classifier, classes=manifest.classes)
    if first is None:
        _check_names(manifest, last)
    return Booster(first, last, getattr(last, "classes_", None) if manifest.kind == "classifier" else None)


def load(package: str, content: bytes, *, is_classifier: bool, classes: list[Any]) -> Any:
    """The predictor in a package's own file. LightGBM's file has no classes, so they are passed in."""
    return _LOADERS[package](_import(package), content, is_classifier, classes)


def _load_xgboost(xgboost: Any, content: bytes, is_classifier: bool, _classes: list[Any]) -> Any:
    last = xgboost.XGBClassifier() if is_classifier else xgboost.XGBRegressor()
    last.load_model(bytearray(content))
    return last


def _load_lightgbm(lightgbm: Any, content: bytes, is_classifier: bool, classes: list[Any]) -> Any:
    booster = lightgbm.Booster(model_str=content.decode())
    return _LightGbmClasses(booster, np.asarray(classes)) if is_classifier else _LightGbmValues(booster)


def _load_catboost(catboost: Any, content: bytes, is_classifier: bool, _classes: list[Any]) -> Any:
    last = catboost.CatBoostClassifier() if is_classifier else catboost.CatBoostRegressor()
    last.load_model(blob=content)
    return last


_LOADERS: dict[str, Callable[[Any, bytes, bool, list[Any]], Any]] = {
    "xgboost": _load_xgboost,
    "lightgbm": _load_lightgbm,
    "catboost": _load_catboost,
}


class _LightGbmValues:
    """Predicts as LGBMRegressor does, which cannot be made of a file."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self.feature_names = booster.feature_name()
        self.n_features_in_ = booster.num_feature()

    def predict(self, rows: Any) -> Any:
        return self._booster.predict(rows)


class _LightGbmClasses(_LightGbmValues):
    """Predicts as LGBMClassifier does."""

    def __init__(self, booster: Any, classes: Any) -> None:
        super().__init__(booster)
        self.classes_ = classes

    def predict(self, rows: Any) -> Any:
        return self.classes_[np.argmax(self.predict_proba(rows), axis=1)]

    def predict_proba(self, rows: Any) -> Any:
        given = self._booster.predict(rows)
        return given if given.ndim == 2 else np.vstack((1.0 - given, given)).transpose()


def feature_names(last: Any) -> list[str] | None:
    """The names of the columns that a model was fitted with; None if it was fitted with an array."""
    if isinstance(last, _LightGbmValues):
        names = list(last.feature_names)
        return None if names == [f"Column_{k}" for k in range(len(names))] else names
    if type(last).__module__ == "catboost.core":
        names = list(last.feature_names_)
        return None if names == [str(k) for k in range(len(names))] else names
    given = getattr(last, "feature_names_in_", None)
    return None if given is None else list(given)


def _check_names(manifest: Manifest, last: Any) -> None:
    """LightGBM and CatBoost take columns by their place, so another order would give wrong answers without a word."""
    given, known = feature_names(last), [feature.name for feature in manifest.features]
    # LightGBM writes a space in a name as an underscore.
    if manifest.takes_frame and given is not None and given != known and given != [n.replace(" ", "_") for n in known]:
        raise ModelRejected("the estimator does not fit its manifest: other names of columns")


def _check_can_be_written(package: str, estimator: Any) -> None:
    parameters, name = estimator.get_params(), type(estimator).__name__
    if callable(parameters.get("objective") or parameters.get("loss_function")):
        raise TrainingFailed(
            f"{name} has an objective of its own, whose answers are no predictions of the package",
            hint="name one of the package's objectives, or use --format pickle",
        )
    missing = parameters.get("missing", np.nan)
    if package == "xgboost" and not (missing is None or np.isnan(missing)):
        raise TrainingFailed(
            f"{name} takes {missing!r} as a missing value, which XGBoost does not write to its file",
            hint="make such values NaN in a step before it, for example SimpleImputer(missing_values=…)",
        )


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as exc:
        raise ModelRejected(
            f"this model is one of {package}, which cannot be imported here: {exc}",
            hint=f"install {'xgboost-cpu or ' if package == 'xgboost' else ''}{package}, in the version that the manifest names",
        ) from exc
