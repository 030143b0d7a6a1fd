"""`deployd new`: what it prints, and what it refuses."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from deployd.config.file import load
from tests.starter.wheels import small_wheel

__all__ = ["small_wheel"]  # a fixture

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_wheel: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_makes_a_repository_and_prints_every_step_to_the_first_deploy(command: Command, here: Path) -> None:
    told = command("new", "churn", "--from", "tabular")
    assert told.exit_code == 0
    assert "churn/ is made, from tabular." in told.stdout
    steps = [
        "cd churn",
        "make try",
        "git remote add origin ADDRESS",
        "config.toml",
        "git add . && git commit",
        "git push -u origin main",
        "export DEPLOYD_WEBHOOK_SECRET=",
        "deployd check",
        "deployd run",
    ]
    places = [told.stdout.index(step) for step in steps]
    assert places == sorted(places)
    assert (here / "churn" / "customers.csv").is_file()


def test_with_an_address_nothing_is_left_to_write_into_the_config(command: Command) -> None:
    told = command("new", "churn", "--repo", "git@github.com:acme/churn.git")
    assert "git push -u origin main" in told.stdout
    assert "remote add" not in told.stdout
    assert "ADDRESS" not in told.stdout


def test_a_registered_model_needs_the_address_of_its_registry_too(command: Command, here: Path) -> None:
    told = command("new", "churn", "--from", "mlflow", "--repo", "git@github.com:acme/churn.git").stdout
    assert "serves a sample" in told
    assert told.index("registry = ") < told.index("git add .")
    (edit,) = [line.partition("  #")[0] for line in told.splitlines() if "sed" in line]
    subprocess.run(["sh", "-c", edit.replace("URL", "http://127.0.0.1:5000")], cwd=here / "churn", check=True)
    (app,) = load(here / "churn" / "config.toml").app
    assert app.model is not None
    assert app.model.registry == "http://127.0.0.1:5000"


def test_a_warning_says_that_the_repository_around_it_does_not_track_its_files(command: Command, here: Path) -> None:
    assert command("new", "apart").stderr == ""
    subprocess.run(["git", "init", "-q", "."], cwd=here, check=True)
    told = command("new", "churn")
    assert (told.exit_code, f"is a repository inside the one in {here}" in told.stderr) == (0, True)


def test_new_refuses_an_unknown_template_a_bad_name_and_what_exists(command: Command, here: Path) -> None:
    unknown = command("new", "churn", "--from", "cobol")
    assert unknown.exit_code == 2
    assert "'iris', 'tabular', 'text', 'mlflow'" in unknown.stderr
    assert (bad := command("new", "My Model")).exit_code == 1
    assert "hint: use lower-case letters" in bad.stderr
    assert command("new").exit_code == 2
    (here / "churn").write_text("mine")
    assert "churn exists" in command("new", "churn").stderr
    assert [path.name for path in here.iterdir()] == ["churn"]


def test_the_help_has_an_example(command: Command) -> None:
    assert "Example: deployd new churn --from tabular" in " ".join(command("new", "--help").stdout.split())
