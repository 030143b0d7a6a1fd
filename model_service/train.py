"""Training: from a task to the files of a model. Nothing is written if the model is not good enough.

`python -m model_service.train --out DIR` writes the model, manifest.json, golden.json and a model card (MODEL.md). The same
task, seed and libraries give the same model version. The serving code loads the written files, and must predict every row as
the estimator does.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_service import card, manifest, model
from model_service.agreement import check_predictions
from model_service.boosters import FILES, package_of
from model_service.errors import ServiceError, TrainingFailed, explain
from model_service.estimator_files import PICKLE_FILE, SKOPS_FILE, hash_of, untrusted_types, write_estimator
from model_service.export import as_trees, count_nodes, visits_per_row
from model_service.fitting import Fitted, fit, fit_all
from model_service.golden import FILE as GOLDEN_FILE
from model_service.golden import golden_document, golden_rows
from model_service.manifest import Manifest
from model_service.provenance import describe
from model_service.quality import check_quality, measure
from model_service.task_module import load_task

# Trees beyond this are served by scikit-learn. A visit of a node takes 0.1 µs in Python, and up to 1 µs where the nodes do not
# fit in the processor's cache; a call of scikit-learn takes some milliseconds for a forest, however many rows it has. The
# defaults of scikit-learn, 100 trees, have more: as arrays, 1,000 rows of a boosting would take 16 times as long as there.
MOST_VISITS = 300
MOST_NODES = 200_000


def write(
    fitted: Fitted,
    out: Path,
    *,
    form: str,
    metrics: dict[str, Any],
    commit: str | None = None,
    task_file: Path | None = None,
    origin: dict[str, Any] | None = None,
) -> Manifest:
    """Writes all files of the model, if their predictions are the estimator's. Raises TrainingFailed, and changes nothing then.

    The files are made aside and moved when all is well, so a run that fails leaves the model that was there before. `origin` has
    fields of the manifest that are known otherwise, for a model that was trained elsewhere.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=out if out.is_dir() else out.parent) as aside:
        made = Path(aside)
        written = _write_all(
            fitted, made, form=form, metrics=metrics, commit=commit, task_file=task_file, origin=origin
        )
        out.mkdir(exist_ok=True)
        # The manifest is the last: with an older one, the new files are refused.
        files = sorted(made.iterdir(), key=lambda file: file.name == manifest.FILE)
        for file in files:
            file.replace(out / file.name)
    for stale in _FILES - {file.name for file in files}:
        (out / stale).unlink(missing_ok=True)
    return written


_FILES = {
    model.TREES_FILE,
    SKOPS_FILE,
    PICKLE_FILE,
    *FILES.values(),
    GOLDEN_FILE,
    manifest.FILE,
    card.FILE,
    card.PLOT_FILE,
}


def _write_all(
    fitted: Fitted,
    out: Path,
    *,
    form: str,
    metrics: dict[str, Any],
    commit: str | None,
    task_file: Path | None,
    origin: dict[str, Any] | None,
) -> Manifest:
    """Writes all files of the model into an empty directory. Raises TrainingFailed."""
    form, files, model_hash = _write_model(fitted, out, form)
    described = describe(fitted, metrics, form=form, model_hash=model_hash, commit=commit, task_file=task_file) | (
        origin or {}
    )
    _write_manifest(out, described, *files)
    loaded = model.load(out, pickle_sha256=_sha256(out / files[0]), trusted=untrusted_in(out))
    check_predictions(fitted, loaded)
    golden = golden_rows(
        loaded, fitted.data.cells(fitted.held_back_rows), fitted.data.cells(fitted.training_rows[:100])
    )
    (out / GOLDEN_FILE).write_text(json.dumps(golden_document(loaded, golden), indent=1) + "\n")
    written = _write_manifest(out, described, *files, GOLDEN_FILE)
    card.write(written, out)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 if the model was written, 1 if it is not good enough or cannot be made."""
    options = _parser().parse_args(arguments)
    try:
        written, metrics = _train(options)
    except ServiceError as failure:
        print(explain(failure), file=sys.stderr)
        return 1
    score = {name: round(value, 4) for name, value in metrics.items() if isinstance(value, float)}
    print(f"{written.name} {written.version}: {written.estimator.type}, {score}, written to {options.out}")
    for line in serving_hints(written, options.out):
        print(line)
    return 0


def _train(options: argparse.Namespace) -> tuple[Manifest, dict[str, Any]]:
    task = load_task(options.task, options.seed)
    fitted = fit(task, seed=options.seed)
    metrics = measure(fitted)
    bar = options.min_r2 if "r2" in metrics else options.min_accuracy
    check_quality(metrics, bar=task.bar if bar is None else bar, beat=options.not_worse_than)
    if task.final_fit:
        fitted = fit_all(fitted)
    task_file = Path(str(sys.modules[options.task].__file__))
    written = write(
        fitted, options.out, form=options.format, metrics=metrics, commit=options.commit, task_file=task_file
    )
    return written, metrics


def _write_model(fitted: Fitted, out: Path, form: str) -> tuple[Any, list[str], str]:
    """Writes the model's files; returns their format, their names and a hash of the model."""
    estimator = fitted.estimator
    trees = None
    if form == "trees" or (form == "auto" and _suits_arrays(fitted)):
        trees = as_trees(estimator) if _has_numbers(fitted) else None
    if trees is None and form == "trees":
        raise TrainingFailed(f"{type(estimator).__name__} cannot be written as trees", hint="use --format skops")
    if trees is not None:
        text = json.dumps(trees.document(), separators=(",", ":"), allow_nan=False)
        (out / model.TREES_FILE).write_text(text)
        return "trees", [model.TREES_FILE], hashlib.sha256(text.encode()).hexdigest()
    used = (package_of(estimator) if form == "auto" else None) or ("pickle" if form == "pickle" else "skops")
    # The file differs from run to run, so the hash is made from the content of the estimator.
    model_hash = hash_of(estimator)
    return used, write_estimator(estimator, out, used), model_hash


def _suits_arrays(fitted: Fitted) -> bool:
    """Whether trees are so few and small that a walk in Python through arrays costs less than scikit-learn for most requests."""
    if as_trees(fitted.estimator, compact=True) is None or not _has_numbers(fitted):
        return False
    if count_nodes(fitted.estimator) > MOST_NODES:
        return False
    return visits_per_row(fitted.estimator, fitted.training_rows[:1000]) <= MOST_VISITS


def _has_numbers(fitted: Fitted) -> bool:
    return all(feature.type in ("number", "integer", "boolean") for feature in fitted.features)


def _write_manifest(out: Path, described: dict[str, Any], *files: str) -> Manifest:
    written = Manifest(**described, files={name: _sha256(out / name) for name in files})
    (out / manifest.FILE).write_text(written.model_dump_json(indent=1) + "\n")
    return written


def serving_hints(written: Manifest, out: Path) -> list[str]:
    """The setting that is needed to serve this model, if any."""
    if written.format == "pickle":
        return [f"to serve this pickle, set MODEL_ALLOW_PICKLE={written.files[PICKLE_FILE]}"]
    types = untrusted_in(out)
    return [f"to serve this model, set MODEL_TRUST={','.join(types)}"] if types else []


def untrusted_in(out: Path) -> Sequence[str]:
    """The types that serving does not trust. Training trusts them, since it has just written the file."""
    return untrusted_types(out / SKOPS_FILE) if (out / SKOPS_FILE).exists() else ()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service.train", description="Trains a model, checks it and writes it."
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
    add_output_options(parser)
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """The options about what is written, for each command that writes a model."""
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="directory for the files (default: %(default)s)"
    )
    parser.add_argument(
        "--format",
        choices=("auto", "trees", "skops", "pickle"),
        default="auto",
        help="format of the file (default: trees if they are few and small, a booster's own, or else skops)",
    )
    parser.add_argument("--commit", metavar="SHA", help="commit to record (default: what git says)")


if __name__ == "__main__":
    sys.exit(main())
