"""The wheel of deployd that `make wheel` builds: what it holds and asks for. tests/booted/ installs it."""

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


@pytest.mark.slow
def test_the_wheel_holds_the_daemon_its_pages_and_its_units_and_asks_for_what_runs_it(tmp_path: Path) -> None:
    for name in ("deployd", "model_service", "systemd"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "dist",
        ".",
    ]
    subprocess.run(build, cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name == f"deployd-{PROJECT['version']}-py3-none-any.whl"
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
