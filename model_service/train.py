"""Training: a task in, a proven model's files out; nothing is written when the model is not good enough.

`python -m model_service.train --out DIR` writes the model, manifest.json, golden.json and a model card (MODEL.md). The same
task, seed and libraries give the same model version. What it wrote is loaded again by the serving code and must answer
every row as the estimator does, before it counts.
"""

import argparse
import hashlib
import importlib
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
)
from sklearn.model_selection import train_test_split

from model_service import card, manifest, model
from model_service.errors import ServiceError, TrainingFailed
from model_service.estimators import PICKLE_FILE, SKOPS_FILE, untrusted_types, write_estimator
from model_service.export import as_trees
from model_service.golden import FILE as GOLDEN_FILE
from model_service.golden import golden_document, golden_rows
from model_service.manifest import Manifest
from model_service.task import Task

LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib", "skops")


@dataclass(frozen=True)
class Fitted:
    """An estimator, the task it learnt, and the rows it has not seen."""

    task: Task
    seed: int
    estimator: Any
    rows: np.ndarray[Any, Any]
    answers: np.ndarray[Any, Any]
    unseen_rows: np.ndarray[Any, Any]
    unseen_answers: np.ndarray[Any, Any]

    @property
    def classifier(self) -> bool:
        """A classifier, else a regressor."""
        return bool(is_classifier(self.estimator))


def load_task(name: str, seed: int) -> Task:
    """The task of a module. Raises TrainingFailed."""
    try:
        made = importlib.import_module(name).task(seed)
    except ImportError as exc:
        raise TrainingFailed(f"no task module {name}: {exc}", hint="--task takes a dotted module name") from exc
    if not isinstance(made, Task):
        raise TrainingFailed(f"{name}.task(seed) returned {type(made).__name__}, not a Task")
    return made


def fit(task: Task, *, seed: int) -> Fitted:
    """Splits the task's data 75/25 by the seed and fits its estimator. Raises TrainingFailed."""
    rows, answers = np.asarray(task.rows, dtype=np.float64), np.asarray(task.answers)
    if rows.ndim != 2 or answers.ndim != 1 or len(rows) != len(answers):
        raise TrainingFailed(f"rows {rows.shape} and answers {answers.shape} are not (n, d) and (n,)")
    if len(task.features) != rows.shape[1]:
        raise TrainingFailed(f"the task names {len(task.features)} features, its rows have {rows.shape[1]}")
    if np.isinf(rows).any() or np.isnan(rows).all(axis=0).any():
        raise TrainingFailed("the rows hold infinities, or a column without any value")
    kind = task.estimator if isinstance(task.estimator, BaseEstimator) else None
    if kind is None or not (is_classifier(kind) or is_regressor(kind)):
        raise TrainingFailed(f"{type(task.estimator).__name__} is neither a classifier nor a regressor")
    strata = answers if is_classifier(task.estimator) else None
    kept, unseen, kept_answers, unseen_answers = train_test_split(
        rows, answers, test_size=0.25, random_state=seed, stratify=strata
    )
    estimator = task.estimator.fit(kept, kept_answers)
    return Fitted(task, seed, estimator, rows, answers, unseen, unseen_answers)


def measure(fitted: Fitted) -> dict[str, Any]:
    """How good the estimator is on the rows it has not seen."""
    said = fitted.estimator.predict(fitted.unseen_rows)
    if not fitted.classifier:
        return {
            "r2": float(r2_score(fitted.unseen_answers, said)),
            "mean_absolute_error": float(mean_absolute_error(fitted.unseen_answers, said)),
        }
    classes = fitted.estimator.classes_
    precision, recall, _, support = precision_recall_fscore_support(
        fitted.unseen_answers, said, labels=classes, zero_division=0.0
    )
    labels = _labels(fitted)
    return {
        "accuracy": float(accuracy_score(fitted.unseen_answers, said)),
        "confusion_matrix": confusion_matrix(fitted.unseen_answers, said, labels=classes).tolist(),
        "per_class": {
            label: {"precision": float(precision[k]), "recall": float(recall[k]), "rows": int(support[k])}
            for k, label in enumerate(labels)
        },
    }


def check_quality(metrics: dict[str, Any], *, bar: float, beat: Path | None) -> None:
    """Raises TrainingFailed under the bar, or when worse than the manifest to beat."""
    name = "accuracy" if "accuracy" in metrics else "r2"
    if metrics[name] < bar:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, under the bar of {bar:.4f}",
            hint="nothing was written; improve the model or lower --min-accuracy (--min-r2)",
        )
    if beat is None:
        return
    try:
        earlier = json.loads(beat.read_bytes())["metrics"][name]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingFailed(f"{beat} is no manifest with {name} to compare with: {exc!r}") from exc
    if metrics[name] < earlier:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, worse than the {earlier:.4f} of {beat}",
            hint="nothing was written; the earlier model is the better one",
        )


def write(fitted: Fitted, out: Path, *, form: str, metrics: dict[str, Any], commit: str | None = None) -> Manifest:
    """Writes all files of the model and proves them against the estimator. Raises TrainingFailed."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in (model.TREES_FILE, SKOPS_FILE, PICKLE_FILE, GOLDEN_FILE, manifest.FILE):
        (out / stale).unlink(missing_ok=True)
    form, file, content_hash = _write_model(fitted, out, form)
    described = _describe(fitted, metrics, form=form, content_hash=content_hash, commit=commit)
    _write_manifest(out, described, file)
    loaded = model.load(out, pickle_sha256=_sha256(out / file), trusted=_any_type(form, out))
    _prove(fitted, loaded)
    golden = golden_document(loaded, golden_rows(fitted.unseen_rows, described))
    (out / GOLDEN_FILE).write_text(json.dumps(golden, indent=1) + "\n")
    written = _write_manifest(out, described, file, GOLDEN_FILE)
    card.write(written, out)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 written, 1 not good enough or not possible."""
    options = _parser().parse_args(arguments)
    try:
        task = load_task(options.task, options.seed)
        fitted = fit(task, seed=options.seed)
        metrics = measure(fitted)
        asked = options.min_accuracy if fitted.classifier else options.min_r2
        check_quality(metrics, bar=task.bar if asked is None else asked, beat=options.not_worse_than)
        written = write(fitted, options.out, form=options.format, metrics=metrics, commit=options.commit)
    except ServiceError as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        if failure.hint:
            print(f"hint: {failure.hint}", file=sys.stderr)
        return 1
    score = {name: round(value, 4) for name, value in metrics.items() if isinstance(value, float)}
    print(f"{written.name} {written.version}: {written.estimator.type}, {score}, written to {options.out}")
    return 0


def _write_model(fitted: Fitted, out: Path, form: str) -> tuple[Any, str, str]:
    """Returns the format taken, the file's name and the hash of the model's content."""
    trees = as_trees(fitted.estimator) if form in ("auto", "trees") else None
    if trees is None and form == "trees":
        raise TrainingFailed(f"{type(fitted.estimator).__name__} cannot be written as trees", hint="use --format skops")
    if trees is not None:
        text = json.dumps(trees.document(), separators=(",", ":"), allow_nan=False)
        (out / model.TREES_FILE).write_text(text)
        return "trees", model.TREES_FILE, hashlib.sha256(text.encode()).hexdigest()
    taken = "pickle" if form == "pickle" else "skops"
    # The archive differs from run to run, the estimator's content does not.
    content = joblib.hash(fitted.estimator, hash_name="sha1")
    return taken, write_estimator(fitted.estimator, out, taken), hashlib.sha256(content.encode()).hexdigest()


def _describe(
    fitted: Fitted, metrics: dict[str, Any], *, form: Any, content_hash: str, commit: str | None
) -> dict[str, Any]:
    task, rows = fitted.task, fitted.rows
    units = list(task.units) or [""] * len(task.features)
    features = [
        manifest.Feature(
            name=name,
            unit=unit,
            minimum=float(np.nanmin(column)),
            maximum=float(np.nanmax(column)),
            mean=float(np.nanmean(column)),
            missing=bool(np.isnan(column).any()),
        )
        for name, unit, column in zip(task.features, units, rows.T, strict=True)
    ]
    classes = [value.item() if isinstance(value, np.generic) else value for value in _classes(fitted)]
    head, dirty = _git_state() if commit is None else (commit, False)
    return {
        "format": form,
        "name": task.name,
        "version": content_hash[:12],
        "content_sha256": content_hash,
        "kind": "classifier" if fitted.classifier else "regressor",
        "probabilistic": fitted.classifier and hasattr(fitted.estimator, "predict_proba"),
        "about": task.about,
        "commit": head,
        "dirty": dirty,
        "code_sha256": _code_hash(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": fitted.seed,
        "data": {
            "sha256": _data_hash(fitted),
            "rows": len(rows),
            "training_rows": len(rows) - len(fitted.unseen_rows),
            "held_back_rows": len(fitted.unseen_rows),
        },
        "estimator": {
            "type": f"{type(fitted.estimator).__module__}.{type(fitted.estimator).__qualname__}",
            "parameters": {name: repr(value) for name, value in sorted(fitted.estimator.get_params().items())},
        },
        "libraries": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
        "classes": classes,
        "labels": _labels(fitted),
        "features": [feature.model_dump() for feature in features],
        "metrics": metrics,
    }


def _write_manifest(out: Path, described: dict[str, Any], *files: str) -> Manifest:
    written = Manifest(**described, files={name: _sha256(out / name) for name in files})
    (out / manifest.FILE).write_text(written.model_dump_json(indent=1) + "\n")
    return written


def _prove(fitted: Fitted, loaded: model.Model) -> None:
    """The files must answer every row of the data as the estimator does."""
    answers = loaded.answers(fitted.rows.tolist())
    said = fitted.estimator.predict(fitted.rows)
    if fitted.classifier:
        agree = bool(np.array_equal(np.asarray(_classes(fitted))[[answer.chosen for answer in answers]], said))
    else:
        agree = bool(np.allclose([answer.value for answer in answers], said, rtol=1e-12, atol=0.0))
    if not agree:
        raise TrainingFailed("the written model does not answer as the estimator does", hint="use --format skops")


def _labels(fitted: Fitted) -> list[str]:
    classes = _classes(fitted)
    if fitted.task.labels and len(fitted.task.labels) != len(classes):
        raise TrainingFailed(f"{len(fitted.task.labels)} labels for {len(classes)} classes")
    return list(fitted.task.labels) or [str(one) for one in classes]


def _classes(fitted: Fitted) -> list[Any]:
    return list(fitted.estimator.classes_) if fitted.classifier else []


def _any_type(form: str, out: Path) -> Sequence[str]:
    """Training trusts the file that it has just written."""
    return untrusted_types(out / SKOPS_FILE) if form == "skops" else ()


def _data_hash(fitted: Fitted) -> str:
    content = hashlib.sha256(np.ascontiguousarray(fitted.rows).tobytes())
    content.update(json.dumps(fitted.answers.tolist()).encode())
    return content.hexdigest()


def _code_hash() -> str:
    """A hash over this package: what made the model, where git cannot say."""
    content = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def _git_state() -> tuple[str | None, bool | None]:
    """The commit checked out here and whether the tree differs from it; unknown outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_service.train", description="Trains a model and proves it.")
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="where the files go (default: model)"
    )
    parser.add_argument(
        "--task", default="model_service.iris", metavar="MODULE", help="what to learn: a module with task(seed)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--min-accuracy", type=float, metavar="SHARE", help="the bar of a classifier (default: the task's)"
    )
    parser.add_argument("--min-r2", type=float, metavar="R2", help="the bar of a regressor (default: the task's)")
    parser.add_argument(
        "--not-worse-than", type=Path, metavar="MANIFEST", help="an earlier manifest.json to hold up against"
    )
    parser.add_argument(
        "--format", choices=("auto", "trees", "skops", "pickle"), default="auto", help="how to write the model"
    )
    parser.add_argument("--commit", metavar="SHA", help="the commit to record (default: what git says)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
