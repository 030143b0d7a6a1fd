"""What `make wheel` makes: what the wheel of deployd holds and asks for, and what is beside it. tests/booted/ installs it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

import model_service

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "deployd" / "starter"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` makes in a checkout in which `pip install ./model_service` has left what it does."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("deployd", "model_service", "systemd"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "setup.py"):
        shutil.copy(ROOT / name, checkout)
    left = checkout / "model_service" / "build" / "lib" / "model_service"
    left.mkdir(parents=True)
    (left / "gone.py").touch()
    tools = checkout / "build" / "tools" / "bin"
    tools.mkdir(parents=True)
    for tool, command in (("python", ""), ("pip", "-m pip")):  # of this environment, instead of one that is made first
        (tools / tool).write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        (tools / tool).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["make", "--silent", "wheel"], cwd=checkout, env=environment, check=True)
    return checkout / "dist"


@pytest.mark.slow
def test_the_wheel_holds_the_daemon_its_pages_and_its_units_and_asks_for_what_runs_it(dist: Path) -> None:
    wheel = dist / f"deployd-{PROJECT['version']}-py3-none-any.whl"
    with ZipFile(wheel) as held:
        names = held.namelist()
        for unit in (ROOT / "systemd").iterdir():
            assert held.read(f"deployd/host/units/{unit.name}") == unit.read_bytes()
        (about,) = (message_from_string(held.read(name).decode()) for name in names if name.endswith("/METADATA"))
    assert {name.split("/")[0] for name in names} == {"deployd", f"deployd-{PROJECT['version']}.dist-info"}
    assert "deployd/api/pages/templates/home/apps.html" in names
    starter = {
        f"deployd/starter/{file.relative_to(STARTER)}" for file in STARTER.glob("templates/*/*") if file.is_file()
    }
    assert starter | {f"deployd/starter/model_service-{model_service.__version__}-py3-none-any.whl"} <= set(names)
    asked = [str(one) for one in about.get_all("Requires-Dist", [])]
    assert len([one for one in asked if "extra ==" not in one]) == len(PROJECT["dependencies"])
    assert about.get_all("Provides-Extra") == ["otel"]


@pytest.mark.slow
def test_the_wheel_of_model_service_beside_it_is_the_one_that_it_holds(dist: Path) -> None:
    name = f"model_service-{model_service.__version__}-py3-none-any.whl"
    with ZipFile(dist / f"deployd-{PROJECT['version']}-py3-none-any.whl") as held:
        assert held.read(f"deployd/starter/{name}") == (dist / name).read_bytes()
    with ZipFile(dist / name) as own:
        assert not [one for one in own.namelist() if one.endswith("/gone.py")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "source"), [("", "requirements"), ("-otel", "otel")])
def test_the_lock_beside_it_names_the_wheel_by_its_hash_and_all_that_it_needs(
    dist: Path, kind: str, source: str
) -> None:
    version = PROJECT["version"]
    found = hashlib.sha256((dist / f"deployd-{version}-py3-none-any.whl").read_bytes()).hexdigest()
    own = f"--find-links .\ndeployd=={version} --hash=sha256:{found}\n"
    needs = (ROOT / "deployd" / f"{source}.lock").read_text()
    assert (dist / f"deployd-{version}{kind}.lock").read_text() == own + needs
