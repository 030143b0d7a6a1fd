"""Schemathesis asks real services what their OpenAPI documents say: a model of numbers, and one with columns of every type."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from model_service import train
from model_service.fitting import fit
from model_service.quality import measure
from tests.model_service.parcels import TRUSTED, parcels
from tests.model_service.process import running

pytestmark = pytest.mark.slow
# JSON Schema cannot say how many numbers a tensor must hold, so the service refuses some inference requests that fit the schema.
CONFIGURATION = """
[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.enabled = false
"""


def assert_nothing_is_found(url: str, folder: Path, *options: str) -> None:
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(configuration)]
    command = [*program, "run", f"{url}/openapi.json", "--seed", "1", "--no-color", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_nothing_is_found_with_a_model_of_numbers(iris_dir: Path, tmp_path: Path) -> None:
    with running(iris_dir) as service:
        assert_nothing_is_found(service.url, tmp_path, "--max-examples", "40")


def test_nothing_is_found_with_columns_of_every_type(tmp_path: Path) -> None:
    """Only the routes that depend on the columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(parcels(), seed=0)
        manifest = train.write(fitted, tmp_path / "model", form="auto", metrics=measure(fitted))
    types = [(feature.type, feature.missing, feature.unknown) for feature in manifest.features]
    assert types == [
        ("integer", False, False),
        ("number", False, False),
        ("integer", True, False),
        ("boolean", True, False),
        ("category", False, False),
        ("category", False, False),
        ("category", True, True),
        ("text", False, False),
        ("datetime", False, False),
        ("datetime", True, False),
    ]
    with running(tmp_path / "model", "--trust", TRUSTED) as service:
        routes = "^/(predict|api|examples|manifest|v2/models/parcels/infer)$"
        assert_nothing_is_found(service.url, tmp_path, "--max-examples", "25", "--include-path-regex", routes)
