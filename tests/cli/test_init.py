"""`deployd init` and `deployd token new`: what they write is a config that loads."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from deployd.config.file import load, parse
from deployd.host.service import Service

Command = Callable[..., Result]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "My Model.2"
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(path)], check=True)
    monkeypatch.chdir(path)
    return path


def test_init_sees_remote_branch_dockerfile_and_port(repository: Path, command: Command) -> None:
    url = "https://user:hunter2@example.com/acme/Iris_Model.git"
    subprocess.run(["git", "remote", "add", "origin", url], cwd=repository, check=True)
    (repository / "Dockerfile").write_text("FROM python\nEXPOSE 7000/tcp 9\n")
    (repository / "golden.json").write_text("[]")
    assert command("init").exit_code == 0
    text = (repository / "config.toml").read_text()
    (app,) = load(repository / "config.toml").app
    assert (app.name, app.repo) == ("iris-model", "https://example.com/acme/Iris_Model.git")
    assert (app.branch, app.docker.port, app.build.dockerfile) == ("trunk", 7000, "Dockerfile")
    assert app.golden is not None
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("service", "secret", "following"),
    [
        (None, "env:DEPLOYD_WEBHOOK_SECRET", "export DEPLOYD_WEBHOOK_SECRET=…, then: deployd check -c config.toml"),
        (
            Service((("ExecStart", "/usr/bin/deployd run --config /etc/deployd/config.toml"),)),
            "credential:webhook_secret",
            "sudo install -m 0640 -g deployd config.toml /etc/deployd/config.toml, then: sudo deployd check",
        ),
    ],
)
def test_init_refers_to_the_secret_where_the_daemon_of_this_machine_has_it(
    repository: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    service: Service | None,
    secret: str,
    following: str,
) -> None:
    monkeypatch.setattr("deployd.cli.init.installed", lambda: service)
    told = command("init")
    assert load(repository / "config.toml").github.secrets == (secret,)
    assert following in told.stdout


@pytest.mark.parametrize(
    ("url", "section"),
    [
        ("git@github.com:acme/iris.git", "github"),
        ("https://gitlab.com/acme/ml/iris.git", "gitlab"),
        ("ssh://git@gitlab.example.com:2222/acme/iris.git", "gitlab"),
        ("https://codeberg.org/acme/iris.git", "gitea"),
        ("git@forgejo.example.com:acme/iris.git", "gitea"),
        ("https://bitbucket.org/acme/iris.git", "bitbucket"),
        ("https://git.example.com/gitlab/iris.git", "github"),
    ],
)
def test_init_puts_the_secret_into_the_section_of_the_remotes_forge(
    repository: Path, command: Command, url: str, section: str
) -> None:
    subprocess.run(["git", "remote", "add", "origin", url], cwd=repository, check=True)
    assert command("init").exit_code == 0
    assert getattr(load(repository / "config.toml"), section).secrets == ("env:DEPLOYD_WEBHOOK_SECRET",)


def test_init_without_a_remote_uses_the_repository_itself(repository: Path, command: Command) -> None:
    told = command("init")
    assert "no Dockerfile" in told.stdout
    config = load(repository / "config.toml")
    assert (config.app[0].name, config.app[0].repo, config.git.allow_file) == ("my-model-2", str(repository), True)


def test_init_replaces_nothing_without_force(repository: Path, command: Command) -> None:
    (repository / "config.toml").write_text("mine")
    refused = command("init")
    assert (refused.exit_code, (repository / "config.toml").read_text()) == (1, "mine")
    assert "--force" in refused.stderr
    assert command("init", "--force").exit_code == 0
    assert command("init", "-o", "other.toml").exit_code == 0


def test_init_outside_of_a_repository_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is not in a git repository" in command("init").stderr


def test_a_new_token_is_printed_with_its_lines_for_the_config(command: Command) -> None:
    made = command("token", "new", "ci", "--role", "deploy")
    token = made.stdout.strip()
    assert len(token) >= 40
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert f'[[auth.tokens]]\nname = "ci"\nrole = "deploy"\nsha256 = "{digest}"' in made.stderr
    parse({"auth": {"tokens": [{"name": "ci", "role": "deploy", "sha256": digest}]}})
    assert command("token", "new", "Not A Label").exit_code == 78
    assert command("token", "new", "ci", "--role", "god").exit_code == 2
