"""Training: from a task to the files of a model. Nothing is written if the model is not good enough.

`python -m model_service.train --out DIR` writes the model, manifest.json, golden.json and a model card (MODEL.md). The same
task, seed and libraries give the same model version. The serving code loads the written files, and must predict every row as
the estimator does.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from model_service import card, manifest, model
from model_service.errors import ServiceError, TrainingFailed
from model_service.estimators import PICKLE_FILE, SKOPS_FILE, untrusted_types, write_estimator
from model_service.export import as_trees
from model_service.fitting import Fitted, check_quality, fit, load_task, measure
from model_service.golden import FILE as GOLDEN_FILE
from model_service.golden import golden_document, golden_rows
from model_service.manifest import Manifest
from model_service.provenance import describe


def write(
    fitted: Fitted,
    out: Path,
    *,
    form: str,
    metrics: dict[str, Any],
    commit: str | None = None,
    task_file: Path | None = None,
) -> Manifest:
    """Writes all files of the model and compares their predictions with the estimator's. Raises TrainingFailed."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in (model.TREES_FILE, SKOPS_FILE, PICKLE_FILE, GOLDEN_FILE, manifest.FILE):
        (out / stale).unlink(missing_ok=True)
    form, file, model_hash = _write_model(fitted, out, form)
    described = describe(fitted, metrics, form=form, model_hash=model_hash, commit=commit, task_file=task_file)
    _write_manifest(out, described, file)
    loaded = model.load(out, pickle_sha256=_sha256(out / file), trusted=_untrusted(form, out))
    _check_predictions(fitted, loaded)
    golden = golden_document(loaded, golden_rows(fitted.held_back_rows, described))
    (out / GOLDEN_FILE).write_text(json.dumps(golden, indent=1) + "\n")
    written = _write_manifest(out, described, file, GOLDEN_FILE)
    card.write(written, out)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 if the model was written, 1 if it is not good enough or cannot be made."""
    options = _parser().parse_args(arguments)
    try:
        task = load_task(options.task, options.seed)
        fitted = fit(task, seed=options.seed)
        metrics = measure(fitted)
        bar = options.min_accuracy if fitted.is_classifier else options.min_r2
        check_quality(metrics, bar=task.bar if bar is None else bar, beat=options.not_worse_than)
        task_file = Path(str(sys.modules[options.task].__file__))
        written = write(
            fitted, options.out, form=options.format, metrics=metrics, commit=options.commit, task_file=task_file
        )
    except ServiceError as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        if failure.hint:
            print(f"hint: {failure.hint}", file=sys.stderr)
        return 1
    score = {name: round(value, 4) for name, value in metrics.items() if isinstance(value, float)}
    print(f"{written.name} {written.version}: {written.estimator.type}, {score}, written to {options.out}")
    for line in _serving_hints(written, options.out):
        print(line)
    return 0


def _write_model(fitted: Fitted, out: Path, form: str) -> tuple[Any, str, str]:
    """Writes the model's file; returns its format, its name and a hash of the model."""
    trees = as_trees(fitted.estimator) if form in ("auto", "trees") else None
    if trees is None and form == "trees":
        raise TrainingFailed(f"{type(fitted.estimator).__name__} cannot be written as trees", hint="use --format skops")
    if trees is not None:
        text = json.dumps(trees.document(), separators=(",", ":"), allow_nan=False)
        (out / model.TREES_FILE).write_text(text)
        return "trees", model.TREES_FILE, hashlib.sha256(text.encode()).hexdigest()
    used = "pickle" if form == "pickle" else "skops"
    # The file differs from run to run, so the hash is made from the content of the estimator.
    content = joblib.hash(fitted.estimator, hash_name="sha1")
    return used, write_estimator(fitted.estimator, out, used), hashlib.sha256(content.encode()).hexdigest()


def _write_manifest(out: Path, described: dict[str, Any], *files: str) -> Manifest:
    written = Manifest(**described, files={name: _sha256(out / name) for name in files})
    (out / manifest.FILE).write_text(written.model_dump_json(indent=1) + "\n")
    return written


def _check_predictions(fitted: Fitted, loaded: model.Model) -> None:
    """The loaded model must predict every row of the data as the estimator does."""
    predictions = loaded.predict(fitted.rows.tolist())
    expected = fitted.estimator.predict(fitted.rows)
    if fitted.is_classifier:
        classes = np.asarray(fitted.classes)[[prediction.class_index for prediction in predictions]]
        agree = bool(np.array_equal(classes, expected))
    else:
        values = [prediction.value for prediction in predictions]
        agree = bool(np.allclose(values, expected, rtol=1e-12, atol=0.0))
    if not agree:
        raise TrainingFailed("the written model does not predict what the estimator does", hint="use --format skops")


def _serving_hints(written: Manifest, out: Path) -> list[str]:
    """The setting that is needed to serve this model, if any."""
    if written.format == "pickle":
        return [f"to serve this pickle, set MODEL_ALLOW_PICKLE={written.files[PICKLE_FILE]}"]
    types = _untrusted(written.format, out)
    return [f"to serve this model, set MODEL_TRUST={','.join(types)}"] if types else []


def _untrusted(form: str, out: Path) -> Sequence[str]:
    """The types that serving does not trust. Training trusts them, since it has just written the file."""
    return untrusted_types(out / SKOPS_FILE) if form == "skops" else ()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service.train", description="Trains a model, checks it and writes it."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="directory for the files (default: %(default)s)"
    )
    parser.add_argument(
        "--task",
        default="model_service.iris",
        metavar="MODULE",
        help="module with a function task(seed) (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed for all that is random (default: %(default)s)")
    parser.add_argument(
        "--min-accuracy", type=float, metavar="SHARE", help="least accuracy of a classifier (default: the task's)"
    )
    parser.add_argument("--min-r2", type=float, metavar="R2", help="least R² of a regressor (default: the task's)")
    parser.add_argument(
        "--not-worse-than", type=Path, metavar="MANIFEST", help="earlier manifest.json whose score is the least score"
    )
    parser.add_argument(
        "--format",
        choices=("auto", "trees", "skops", "pickle"),
        default="auto",
        help="format of the file (default: trees, or else skops)",
    )
    parser.add_argument("--commit", metavar="SHA", help="commit to record (default: what git says)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
