"""Models of XGBoost, LightGBM and CatBoost: what their files cannot hold is refused, and what is missing is said."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from model_service import train
from model_service.boosters import read_booster
from model_service.errors import ModelRejected, TrainingFailed
from model_service.fitting import fit
from model_service.manifest import Manifest
from model_service.model import load
from model_service.quality import measure
from model_service.task import Task
from tests.model_service.kinds import BOOSTERS, CATBOOST, customers, flowers, values

pytestmark = pytest.mark.slow


def write(task: Task, out: Path) -> Manifest:
    fitted = fit(task, seed=0)
    return train.write(fitted, out, form="auto", metrics=measure(fitted))


SMALL: dict[str, Any] = {
    "xgboost": lambda: flowers(XGBClassifier(n_estimators=2)),
    "lightgbm": lambda: flowers(LGBMClassifier(n_estimators=2, verbose=-1)),
    "catboost": lambda: flowers(CatBoostClassifier(2, **CATBOOST)),
}


@pytest.mark.parametrize("package", SMALL)
def test_a_package_that_is_missing_is_named_with_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(SMALL[package](), tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelRejected, match=f"one of {package}, which cannot be imported here") as refused:
        load(tmp_path)
    assert package in refused.value.hint


def test_another_version_of_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(SMALL["lightgbm"](), tmp_path)
    monkeypatch.setattr("lightgbm.__version__", "1.0")
    with pytest.raises(ModelRejected, match=rf"lightgbm {written.libraries['lightgbm']}, but 1\.0 is installed"):
        load(tmp_path)


@pytest.mark.parametrize("package", SMALL)
def test_the_same_training_gives_the_same_version(package: str, tmp_path: Path) -> None:
    assert write(SMALL[package](), tmp_path).version == write(SMALL[package](), tmp_path).version


def squared(answers: Any, given: Any) -> Any:
    return given - answers, np.ones_like(answers)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (XGBRegressor(n_estimators=2, missing=-1), "takes -1 as a missing value"),
        (LGBMRegressor(n_estimators=2, verbose=-1, objective=squared), "an objective of its own"),
    ],
)
def test_a_model_that_its_file_cannot_hold_is_refused_at_training(estimator: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=words) as refused:
        write(values(estimator), tmp_path)
    assert refused.value.hint


@pytest.mark.parametrize("name", ["LightGBM with category columns", "CatBoost with category columns"])
def test_columns_in_another_order_are_refused_when_the_model_is_loaded(name: str, tmp_path: Path) -> None:
    """These packages take columns by their place: another order would be answered, and wrong."""
    manifest = write(BOOSTERS[name][0](0), tmp_path)
    content = manifest.read_file(tmp_path, next(file for file in manifest.files if file.startswith("model.")))
    turned = manifest.model_copy(update={"features": manifest.features[::-1]})
    with pytest.raises(ModelRejected, match="other names of columns"):
        read_booster(turned, content, None)


def test_text_labels_of_lightgbm_are_those_of_the_manifest(tmp_path: Path) -> None:
    task = customers(LGBMClassifier(n_estimators=2, verbose=-1), ("age", "income"))
    write(task, tmp_path)
    (prediction,) = load(tmp_path).predict([[30, 2000.0]])
    assert prediction.json.startswith((b'{"label":"leaves","class":"leaves"', b'{"label":"stays","class":"stays"'))


def test_a_model_that_was_a_pipeline_before_leaves_no_file_of_it_behind(tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), XGBClassifier(n_estimators=2))
    assert set(write(flowers(pipeline), tmp_path).files) == {"model.skops", "model.ubj", "golden.json"}
    assert set(write(SMALL["catboost"](), tmp_path).files) == {"model.cbm", "golden.json"}
    assert sorted(file.name for file in tmp_path.glob("model.*")) == ["model.cbm"]


@pytest.mark.slow
def test_the_packages_are_not_imported_for_other_models(tmp_path: Path) -> None:
    code = (
        "import sys; from model_service import train, model; from pathlib import Path\n"
        "assert train.main(['--format', 'skops', '--out', sys.argv[1]]) == 0; model.load(Path(sys.argv[1]))\n"
        "assert not {'xgboost', 'lightgbm', 'catboost'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
