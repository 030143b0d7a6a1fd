"""Training: what it writes, what it refuses, and that it is reproducible."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from model_service import train
from model_service.errors import ModelRejected, TrainingFailed
from model_service.estimator_files import hash_of
from model_service.fitting import fit
from model_service.manifest import Manifest
from model_service.model import load
from model_service.quality import measure
from model_service.task import Task
from model_service.task_module import load_task
from tests.model_service.tasks import OTHERS, TREES

KINDS = {
    name: TREES[name] for name in ("tree", "forest", "boosting", "regression tree", "tree with missing values")
} | OTHERS


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_estimator_predicts_the_same_after_it_was_written_and_loaded(name: str, tmp_path: Path) -> None:
    fitted = fit(KINDS[name](0), seed=0)
    manifest = train.write(fitted, tmp_path, form="auto", metrics=measure(fitted))
    assert manifest.format == ("trees" if name in TREES else "skops")
    predictions = load(tmp_path).predict(fitted.held_back_rows.tolist())
    expected = fitted.estimator.predict(fitted.held_back_rows)
    if manifest.kind == "regressor":
        np.testing.assert_allclose([prediction.value for prediction in predictions], expected, rtol=1e-12)
    else:
        assert [manifest.classes[prediction.class_index] for prediction in predictions] == expected.tolist()
    if manifest.probabilistic:
        probabilities = fitted.estimator.predict_proba(fitted.held_back_rows)
        np.testing.assert_allclose([prediction.probabilities for prediction in predictions], probabilities, rtol=1e-12)


def test_the_manifest_says_where_the_model_comes_from(iris_dir: Path) -> None:
    manifest = Manifest.read(iris_dir)
    assert manifest.commit is not None
    assert subprocess.run(["git", "cat-file", "-e", f"{manifest.commit}^{{commit}}"], check=False).returncode == 0
    assert (manifest.data.rows, manifest.data.training_rows, manifest.data.held_back_rows) == (150, 112, 38)
    assert dict(zip(manifest.labels, manifest.classes, strict=True)) == {"setosa": 0, "versicolor": 1, "virginica": 2}
    assert np.sum(manifest.metrics["confusion_matrix"]) == 38  # type: ignore[arg-type]  # a matrix
    assert {"scikit-learn", "numpy", "python"} <= set(manifest.libraries)
    assert set(manifest.files) == {"model.json", "golden.json"}


def test_ranges_and_means_are_those_of_the_training_rows(iris_dir: Path) -> None:
    fitted = fit(load_task("model_service.iris", 0), seed=0)
    features = Manifest.read(iris_dir).features
    assert [feature.minimum for feature in features] == fitted.training_rows.min(axis=0).tolist()
    assert [feature.maximum for feature in features] == fitted.training_rows.max(axis=0).tolist()
    assert [feature.mean for feature in features] == pytest.approx(fitted.training_rows.mean(axis=0).tolist())
    assert [feature.mean for feature in features] != pytest.approx(fitted.rows.mean(axis=0).tolist())


def test_a_given_commit_is_not_checked_so_dirty_is_unknown(tmp_path: Path) -> None:
    assert train.main(["--out", str(tmp_path), "--commit", "c" * 40]) == 0
    manifest = Manifest.read(tmp_path)
    assert (manifest.commit, manifest.dirty) == ("c" * 40, None)


@pytest.mark.slow
def test_the_code_hash_covers_the_module_of_the_task(iris_dir: Path, tmp_path: Path) -> None:
    assert train.main(["--out", str(tmp_path), "--task", "tests.model_service.tasks"]) == 0
    assert Manifest.read(tmp_path).code_sha256 != Manifest.read(iris_dir).code_sha256


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tree", "ridge regression", "logistic regression in a pipeline"])
def test_the_version_changes_with_features_labels_and_classes(name: str, tmp_path: Path) -> None:
    kinds = TREES | OTHERS

    def version(**changed: Any) -> str:
        fitted = fit(replace(kinds[name](0), **changed), seed=0)
        return train.write(fitted, tmp_path, form="auto", metrics=measure(fitted)).version

    task = kinds[name](0)
    versions = [version(), version(features=[f"{name}_cm" for name in task.features])]
    if task.labels:
        versions.append(version(labels=["x", "y", "z"]))
        versions.append(version(answers=np.asarray(task.answers) + 10))
    assert len(set(versions)) == len(versions)
    assert version() == versions[0]


@pytest.mark.slow
def test_training_prints_the_setting_that_serving_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--out", str(tmp_path), "--task", "tests.model_service.slow"]) == 0
    assert "MODEL_TRUST=tests.model_service.slow.Slow" in capsys.readouterr().out
    assert train.main(["--out", str(tmp_path), "--format", "pickle"]) == 0
    allowed = f"MODEL_ALLOW_PICKLE={hashlib.sha256((tmp_path / 'model.pkl').read_bytes()).hexdigest()}"
    assert allowed in capsys.readouterr().out
    with pytest.raises(ModelRejected) as refused:
        load(tmp_path)
    assert "MODEL_ALLOW_PICKLE" in refused.value.hint
    assert train.main(["--out", str(tmp_path)]) == 0
    assert "MODEL_" not in capsys.readouterr().out


def test_the_same_seed_gives_the_same_model_and_another_seed_gives_another(tmp_path: Path, iris_dir: Path) -> None:
    assert train.main(["--out", str(tmp_path / "again")]) == 0
    assert train.main(["--out", str(tmp_path / "other"), "--seed", "3"]) == 0
    first = Manifest.read(iris_dir)
    assert Manifest.read(tmp_path / "again").content_sha256 == first.content_sha256
    assert Manifest.read(tmp_path / "other").content_sha256 != first.content_sha256


@pytest.mark.slow
def test_training_needs_no_library_that_only_serving_has(tmp_path: Path) -> None:
    """The image has one environment for training and another for serving."""
    serving = (Path(train.__file__).parent / "serving.in").read_text()
    training = (Path(train.__file__).parent / "training.in").read_text()
    names = {
        re.split(r"[^a-z_]", line.replace("-", "_"))[0] for line in serving.splitlines() if line.strip()[:1].isalpha()
    }
    needed = {re.split(r"[^a-z_]", line.replace("-", "_"))[0] for line in training.splitlines()}
    absent = sorted(names - needed)
    assert {"msgspec", "fastapi", "uvicorn"} <= set(absent)
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from model_service.train import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_version_of_other_estimators_than_trees_is_reproducible_too(tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert train.main(["--out", str(tmp_path / out), "--task", "tests.model_service.tasks"]) == 0
    assert Manifest.read(tmp_path / "one").version == Manifest.read(tmp_path / "two").version


def test_the_version_of_a_text_pipeline_does_not_depend_on_where_its_stop_words_lie_in_memory() -> None:
    def fitted(stop_words: list[str]) -> TfidfVectorizer:
        return TfidfVectorizer(stop_words=stop_words).fit(["a parcel", "the bill"])

    one, other = fitted(["the"]), fitted(["the"])
    assert one._stop_words_id != other._stop_words_id
    assert hash_of(one) == hash_of(other)
    assert hash_of(one) != hash_of(fitted(["bill"]))
    assert one.transform(["the parcel"]).nnz == 1


def test_nothing_is_written_under_the_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--out", str(tmp_path / "out"), "--min-accuracy", "0.999"]) == 1
    assert "accuracy is 0.9737 on the rows held back, under the bar of 0.9990" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_worse_than_the_one_to_beat_is_not_written(
    iris_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = json.loads((iris_dir / "manifest.json").read_text())
    better = tmp_path / "manifest.json"
    better.write_text(json.dumps(earlier | {"metrics": {"accuracy": 0.99}}))
    assert train.main(["--out", str(tmp_path / "a"), "--not-worse-than", str(iris_dir / "manifest.json")]) == 0
    assert train.main(["--out", str(tmp_path / "b"), "--not-worse-than", str(better)]) == 1
    assert "worse than the 0.9900" in capsys.readouterr().err
    assert train.main(["--out", str(tmp_path / "b"), "--not-worse-than", str(tmp_path / "none")]) == 1


def test_a_faulty_task_is_refused_with_the_reason() -> None:
    good = TREES["tree"](0)
    for rows, answers, features, estimator, message in (
        (good.rows, good.answers[:-1], good.features, good.estimator, "have other lengths"),
        (good.rows, good.answers, good.features[:-1], good.estimator, "names 3 features"),
        (np.full_like(good.rows, np.inf), good.answers, good.features, good.estimator, "infinite"),
        (good.rows, good.answers, good.features, object(), "no estimator of scikit-learn"),
        ([["red", "x", "y", "z"]] * 150, good.answers, good.features, good.estimator, "the rows are not numbers"),
        (good.rows, range(150), good.features, good.estimator, "cannot be split"),
        (good.rows, good.answers, good.features, LogisticRegression(C=-1), "LogisticRegression cannot learn"),
    ):
        with pytest.raises(TrainingFailed, match=message):
            fit(Task("bad", rows, answers, features, estimator), seed=0)


def test_an_unknown_task_module_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (("no.such.module", "no task module"), ("json", "has no task(seed)")):
        assert train.main(["--task", name]) == 1
        assert name in (errors := capsys.readouterr().err)
        assert message in errors


def test_the_card_shows_quality_input_and_confusion(iris_dir: Path) -> None:
    card = (iris_dir / "MODEL.md").read_text()
    assert "| accuracy | 0.9737 |" in card
    assert "| sepal_length | number | cm | 4.3 to" in card
    assert "confusion.svg" in card
    assert (iris_dir / "confusion.svg").read_text().count("virginica") >= 2
