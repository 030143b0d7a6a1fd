"""Training: a task in, a proven model's files out; nothing is written when the model is not good enough.

`python -m model_service.train --out DIR` writes the model, manifest.json, golden.json and a model card (MODEL.md). The same
task, seed and libraries give the same model version. What it wrote is loaded again by the serving code and must answer
every row as the estimator does, before it counts.
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
    """Writes all files of the model and proves them against the estimator. Raises TrainingFailed."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in (model.TREES_FILE, SKOPS_FILE, PICKLE_FILE, GOLDEN_FILE, manifest.FILE):
        (out / stale).unlink(missing_ok=True)
    form, file, model_hash = _write_model(fitted, out, form)
    described = describe(fitted, metrics, form=form, model_hash=model_hash, commit=commit, task_file=task_file)
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
    for line in _to_be_told(written, options.out):
        print(line)
    return 0


def _write_model(fitted: Fitted, out: Path, form: str) -> tuple[Any, str, str]:
    """Returns the format taken, the file's name and the hash of what was learnt."""
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


def _write_manifest(out: Path, described: dict[str, Any], *files: str) -> Manifest:
    written = Manifest(**described, files={name: _sha256(out / name) for name in files})
    (out / manifest.FILE).write_text(written.model_dump_json(indent=1) + "\n")
    return written


def _prove(fitted: Fitted, loaded: model.Model) -> None:
    """The files must answer every row of the data as the estimator does."""
    answers = loaded.answers(fitted.rows.tolist())
    said = fitted.estimator.predict(fitted.rows)
    if fitted.classifier:
        agree = bool(np.array_equal(np.asarray(fitted.classes)[[answer.chosen for answer in answers]], said))
    else:
        agree = bool(np.allclose([answer.value for answer in answers], said, rtol=1e-12, atol=0.0))
    if not agree:
        raise TrainingFailed("the written model does not answer as the estimator does", hint="use --format skops")


def _to_be_told(written: Manifest, out: Path) -> list[str]:
    """What serving this model must be told, since it trusts less than training does."""
    if written.format == "pickle":
        return [f"to serve this pickle, set MODEL_ALLOW_PICKLE={written.files[PICKLE_FILE]}"]
    needed = _any_type(written.format, out)
    if not needed:
        return []
    return [f"serving trusts a file with such types only when told to: MODEL_TRUST={','.join(needed)}"]


def _any_type(form: str, out: Path) -> Sequence[str]:
    """Training trusts the file that it has just written."""
    return untrusted_types(out / SKOPS_FILE) if form == "skops" else ()


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
