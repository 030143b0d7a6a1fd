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

from model_service.boosters import FILES, version_of
from model_service.data import is_frame
from model_service.fitting import Fitted, quiet

LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib", "skops")


def describe(
    fitted: Fitted,
    metrics: dict[str, Any],
    *,
    form: Any,
    model_hash: str,
    commit: str | None,
    task_file: Path | None,
) -> dict[str, Any]:
    """The manifest's fields without `files`. `task_file` is the task's module. A given `commit` is taken without a check."""
    features = [feature.model_dump() for feature in fitted.features]
    outputs = [output.model_dump() for output in fitted.outputs]
    content_hash = _content_hash(model_hash, fitted, features, outputs)
    head, dirty = _git_state() if commit is None else (commit, None)
    return {
        "format": form,
        "name": fitted.task.name,
        "version": content_hash[:12],
        "content_sha256": content_hash,
        "kind": fitted.kind,
        "probabilistic": fitted.is_classifier and hasattr(fitted.estimator, "predict_proba"),
        "decision": _decision_values(fitted),
        "about": fitted.task.about,
        "commit": head,
        "dirty": dirty,
        "code_sha256": _code_hash(task_file),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": fitted.seed,
        "data": {
            "sha256": fitted.data.sha256(),
            "rows": len(fitted.rows),
            "training_rows": len(fitted.training_rows),
            "held_back_rows": len(fitted.held_back_rows),
            "final_fit": fitted.task.final_fit,
        },
        "estimator": {
            "type": f"{type(fitted.estimator).__module__}.{type(fitted.estimator).__qualname__}",
            "parameters": {name: repr(value) for name, value in sorted(fitted.estimator.get_params().items())},
        },
        "libraries": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _libraries(fitted)}
        | ({form: version_of(form)} if form in FILES else {}),
        "classes": fitted.classes,
        "labels": fitted.labels,
        "outputs": outputs,
        "features": features,
        "metrics": metrics,
    }


def _content_hash(
    model_hash: str, fitted: Fitted, features: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> str:
    """A hash of all that decides which input is accepted and what is predicted."""
    inputs = [(feature["name"], feature["missing"]) for feature in features]
    decisive = [model_hash, fitted.kind, fitted.classes, fitted.labels, inputs]
    types = [[feature[key] for key in _TYPE] for feature in features]
    if outputs or any(feature["dtype"] for feature in features):
        decisive += [outputs, types]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


_TYPE = ("type", "dtype", "null", "categories", "ordered", "unknown")


def _libraries(fitted: Fitted) -> list[str]:
    return [*LIBRARIES, *(["pandas"] if is_frame(fitted.rows) else [])]


def _decision_values(fitted: Fitted) -> int:
    """How many decision values the estimator has for each row, if it has no probabilities but these."""
    estimator = fitted.estimator
    if fitted.kind == "outlier_detector":
        return int(hasattr(estimator, "decision_function"))
    if not fitted.is_classifier or hasattr(estimator, "predict_proba") or not hasattr(estimator, "decision_function"):
        return 0
    with quiet():
        return int(np.atleast_2d(np.asarray(estimator.decision_function(fitted.training_rows[:2])).T).shape[0])


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
