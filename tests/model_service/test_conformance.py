"""Public clients of the Open Inference Protocol get the predictions of scikit-learn. Each has its own environment."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_service.fitting import fit
from model_service.manifest import Manifest
from model_service.task_module import load_task
from tests.model_service.process import running
from tests.model_service.tasks import iris

CLIENTS = Path(__file__).parent / "clients"
LIGHT = ("tritonclient[http]==2.73.0", "open-inference-openapi==2.0.0.1", "pydantic-open-inference==1.3.2")
SCRIPTS = {
    "triton.py": LIGHT,
    "openapi.py": LIGHT,
    "typed.py": LIGHT,
    "kserve_rest.py": ("kserve==0.21.0",),
}


def environment(requirements: tuple[str, ...]) -> Path:
    """A Python with these packages. It is made only once on each machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "deployd-clients" / hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
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
    python = environment(requirements)
    fitted = fit(load_task("model_service.iris", 0), seed=0)
    predicted = fitted.estimator.predict(fitted.held_back_rows)
    expected = {
        "version": Manifest.read(iris_dir).version,
        "rows": fitted.held_back_rows.tolist(),
        "classes": predicted.tolist(),
        "labels": [iris(fitted.estimator).labels[k] for k in predicted],
        "probabilities": fitted.estimator.predict_proba(fitted.held_back_rows).tolist(),
    }
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    with running(iris_dir) as service:
        address = service.url.removeprefix("http://")
        command = [str(python), str(CLIENTS / script), address, str(tmp_path / "expected.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agrees" in done.stdout
