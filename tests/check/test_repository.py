"""What `deployd check` says in a repository that `deployd new` made."""

import subprocess
from pathlib import Path

import pytest

from deployd.check.models import registered
from deployd.check.repository import found_in, is_example
from deployd.config.file import load
from deployd.starter.repository import Starter, make
from tests.starter.wheels import small_wheel

__all__ = ["small_wheel"]  # a fixture


@pytest.fixture
def made(tmp_path: Path, small_wheel: None) -> Path:
    return make(Starter("churn", "iris"), tmp_path)


def told(made: Path) -> dict[str, tuple[str, str]]:
    file = made / "config.toml"
    return {finding.what: (finding.verdict, finding.detail) for finding in found_in(file, load(file))}


def test_a_new_repository_lacks_an_address_and_a_remote_and_nothing_else(made: Path) -> None:
    assert [is_example(app) for app in load(made / "config.toml").app] == [True]
    assert told(made) == {
        "remote": ("wrong", "this repository has no remote to push to"),
        "lock": ("ok", "requirements.lock has all that requirements.txt asks for"),
    }


async def test_the_example_of_a_registry_is_told_and_nobody_is_asked(tmp_path: Path, small_wheel: None) -> None:
    made = make(Starter("churn", "mlflow"), tmp_path)
    assert set(told(made)) == {"remote", "lock"}
    (finding,) = await registered(load(made / "config.toml"))
    assert (finding.verdict, finding.in_config) == ("wrong", True)
    assert finding.detail == "app.churn.model.registry: https://mlflow.example.com is still the example"
    assert finding.hint == "write the address of your MLflow server"


def test_a_remote_that_is_not_the_one_of_the_config_is_told(made: Path) -> None:
    subprocess.run(["git", "remote", "add", "origin", "https://u:p@github.com/acme/x.git"], cwd=made, check=True)
    assert told(made)["remote"] == ("ok", "https://github.com/acme/x.git")
    config = made / "config.toml"
    config.write_text(config.read_text().replace("https://git.example.com/acme/churn", "https://github.com/acme/y"))
    verdict, detail = told(made)["remote"]
    assert verdict == "warning"
    assert detail == "app.churn.repo is https://github.com/acme/y.git, but origin is https://github.com/acme/x.git"


def test_a_remote_by_ssh_keeps_its_user_as_in_the_config(made: Path) -> None:
    address = "ssh://git@github.com/acme/churn.git"
    subprocess.run(["git", "remote", "add", "origin", address], cwd=made, check=True)
    config = made / "config.toml"
    config.write_text(config.read_text().replace("https://git.example.com/acme/churn.git", address))
    assert load(config).app[0].repo == address
    assert told(made)["remote"] == ("ok", address)


def test_requirements_that_are_not_utf8_are_read_as_far_as_they_are(made: Path) -> None:
    requirements = made / "requirements.txt"
    requirements.write_bytes(requirements.read_bytes() + b"# f\xfcr mich\n")
    assert told(made)["lock"][0] == "ok"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("toolz", "requirements.lock lacks toolz, which requirements.txt names"),
        ("numpy>=4", "requirements.lock has numpy 3.0, but requirements.txt asks for numpy>=4"),
        ("NumPy>=2  # enough", None),
        (
            "./vendor/other-1.0-py3-none-any.whl",
            "./vendor/other-1.0-py3-none-any.whl is missing, which requirements.txt",
        ),
        ("# a comment", None),
        ("-r more.txt", None),
    ],
)
def test_a_requirement_that_the_lock_lacks_is_told(made: Path, line: str, fault: str | None) -> None:
    with (made / "requirements.txt").open("a") as file:
        file.write(f"{line}\n")
    verdict, detail = told(made)["lock"]
    assert verdict == ("wrong" if fault else "ok")
    assert detail.startswith(fault or "requirements.lock has all")


def test_another_wheel_or_no_lock_is_told(made: Path) -> None:
    (wheel,) = (made / "vendor").iterdir()
    wheel.write_bytes(b"another one")
    assert told(made)["lock"] == ("wrong", f"requirements.lock was made for another ./vendor/{wheel.name}")
    (made / "requirements.lock").unlink()
    assert told(made)["lock"] == ("wrong", "requirements.lock is missing")


def test_other_repositories_are_not_judged(made: Path) -> None:
    (made / "requirements.txt").write_text("numpy\n")
    assert told(made) == {}
