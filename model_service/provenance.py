"""Where a model comes from: commit, code, data, libraries, parameters. It makes the manifest without the hashes of the files."""

import hashlib
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from model_service.fitting import Fitted
from model_service.manifest import Feature

LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib", "skops")


def describe(
    fitted: Fitted, metrics: dict[str, Any], *, form: Any, model_hash: str, commit: str | None, task_file: Path | None
) -> dict[str, Any]:
    """The manifest's fields without `files`. `task_file` is the task's module. A given `commit` is taken without a check."""
    kind = "classifier" if fitted.is_classifier else "regressor"
    classes = [value.item() if isinstance(value, np.generic) else value for value in fitted.classes]
    features = _features(fitted)
    content_hash = _content_hash(model_hash, kind, classes, fitted.labels, features)
    head, dirty = _git_state() if commit is None else (commit, None)
    return {
        "format": form,
        "name": fitted.task.name,
        "version": content_hash[:12],
        "content_sha256": content_hash,
        "kind": kind,
        "probabilistic": fitted.is_classifier and hasattr(fitted.estimator, "predict_proba"),
        "about": fitted.task.about,
        "commit": head,
        "dirty": dirty,
        "code_sha256": _code_hash(task_file),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": fitted.seed,
        "data": {
            "sha256": _data_hash(fitted),
            "rows": len(fitted.rows),
            "training_rows": len(fitted.training_rows),
            "held_back_rows": len(fitted.held_back_rows),
        },
        "estimator": {
            "type": f"{type(fitted.estimator).__module__}.{type(fitted.estimator).__qualname__}",
            "parameters": {name: repr(value) for name, value in sorted(fitted.estimator.get_params().items())},
        },
        "libraries": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
        "classes": classes,
        "labels": fitted.labels,
        "features": features,
        "metrics": metrics,
    }


def _content_hash(model_hash: str, kind: str, classes: list[Any], labels: list[str], features: list[Any]) -> str:
    """A hash of all that decides which input is accepted and what is predicted."""
    inputs = [(feature["name"], feature["missing"]) for feature in features]
    return hashlib.sha256(json.dumps([model_hash, kind, classes, labels, inputs]).encode()).hexdigest()


def _features(fitted: Fitted) -> list[dict[str, Any]]:
    task = fitted.task
    units = list(task.units) or [""] * len(task.features)
    return [
        Feature(
            name=name,
            unit=unit,
            minimum=float(np.nanmin(training)),
            maximum=float(np.nanmax(training)),
            mean=float(np.nanmean(training)),
            missing=bool(np.isnan(column).any()),
        ).model_dump()
        for name, unit, training, column in zip(
            task.features, units, fitted.training_rows.T, fitted.rows.T, strict=True
        )
    ]


def _data_hash(fitted: Fitted) -> str:
    content = hashlib.sha256(np.ascontiguousarray(fitted.rows).tobytes())
    content.update(json.dumps(fitted.answers.tolist()).encode())
    return content.hexdigest()


def _code_hash(task_file: Path | None) -> str:
    """A hash of this package and the task. It identifies the code that made the model where the commit is unknown."""
    content = hashlib.sha256()
    package = Path(__file__).parent
    paths = sorted(package.glob("*.py"))
    if task_file is not None and task_file.parent != package:
        paths.append(task_file)
    for path in paths:
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def _git_state() -> tuple[str | None, bool | None]:
    """The commit that is checked out, and whether the working tree differs from it; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
