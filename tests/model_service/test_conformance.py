"""Public clients of the Open Inference Protocol get the predictions of scikit-learn. Each has its own environment."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier

from model_service import train
from model_service.client import _plain, _rows
from model_service.fitting import fit
from model_service.manifest import Manifest
from model_service.quality import measure
from model_service.task_module import load_task
from tests.model_service.kinds import TRUST, customers, mixed
from tests.model_service.process import Running, running
from tests.model_service.tasks import iris

CLIENTS = Path(__file__).parent / "clients"
LIGHT = ("tritonclient[http]==2.73.0", "open-inference-openapi==2.0.0.1", "pydantic-open-inference==1.3.2")
SCRIPTS = {
    "triton.py": LIGHT,
    "openapi.py": LIGHT,
    "typed.py": LIGHT,
    "kserve_rest.py": ("kserve==0.21.0",),
}
COLUMN_SCRIPTS = {
    "triton_columns.py": LIGHT,
    "mlserver_columns.py": ("mlserver==1.7.1", "pandas==3.1.1"),
}


def environment(requirements: tuple[str, ...]) -> Path:
    """A Python with these packages. It is made only once on each machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "deployd-testbed/clients" / hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
    python, done = home / "bin/python", home / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *requirements]
        subprocess.run(install, check=True)
        done.touch()
    return python


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("script", "requirements"), SCRIPTS.items(), ids=SCRIPTS)
def test_a_public_client_gets_the_predictions_of_scikit_learn(
    script: str, requirements: tuple[str, ...], iris_dir: Path, tmp_path: Path
) -> None:
    fitted = fit(load_task("model_service.iris", 0), seed=0)
    predicted = fitted.estimator.predict(fitted.held_back_rows)
    expected = {
        "version": Manifest.read(iris_dir).version,
        "rows": fitted.held_back_rows.tolist(),
        "classes": predicted.tolist(),
        "labels": [iris(fitted.estimator).labels[k] for k in predicted],
        "probabilities": fitted.estimator.predict_proba(fitted.held_back_rows).tolist(),
    }
    with running(iris_dir) as service:
        assert_agrees(script, requirements, service, expected, tmp_path)


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A model with columns of every type, and what its pipeline predicts for rows that clients can send."""
    out = tmp_path_factory.mktemp("customers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(customers(mixed(RandomForestClassifier(5, random_state=0))), seed=0)
        train.write(fitted, out, form="auto", metrics=measure(fitted))
    # They cannot send a missing text: Triton's sends the text "None", and MLServer's fails.
    frame = fitted.held_back_rows.dropna(subset=["city"]).reset_index(drop=True)
    assert frame[["income", "children"]].isna().any().all()
    return out, {
        "rows": [_plain(row) for row in _rows(frame)],
        "labels": fitted.estimator.predict(frame).tolist(),
        "probabilities": fitted.estimator.predict_proba(frame).tolist(),
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("script", "requirements"), COLUMN_SCRIPTS.items(), ids=COLUMN_SCRIPTS)
def test_a_public_client_gets_the_predictions_for_columns_of_every_type(
    script: str, requirements: tuple[str, ...], columns: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, expected = columns
    with running(directory, "--trust", TRUST[0]) as service:
        assert_agrees(script, requirements, service, expected, tmp_path)


def assert_agrees(
    script: str, requirements: tuple[str, ...], service: Running, expected: dict[str, Any], folder: Path
) -> None:
    """Runs the script, which compares the service's answers with what is expected."""
    (folder / "expected.json").write_text(json.dumps(expected))
    address = service.url.removeprefix("http://")
    command = [str(environment(requirements)), str(CLIENTS / script), address, str(folder / "expected.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agrees" in done.stdout
