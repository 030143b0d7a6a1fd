"""What `deployd new` makes, file by file, and that it makes all of it or nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployd.config.file import load
from deployd.errors import DeploydError, RequestRefused, Unavailable
from deployd.starter import repository
from deployd.starter.repository import EXAMPLE_REGISTRY, TEMPLATES, Starter, Template, make
from tests.typed import under

pytestmark = pytest.mark.usefixtures("small_wheel")
EVERY = {
    ".dockerignore",
    ".git",
    ".gitignore",
    "Dockerfile",
    "Makefile",
    "README.md",
    "config.toml",
    "requirements.lock",
    "requirements.txt",
    "test_model.py",
    "vendor",
}


def test_there_is_a_folder_for_each_template_and_one_for_what_they_share() -> None:
    folders = {path.name for path in repository._FILES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {*TEMPLATES, "every"}


@pytest.mark.parametrize(
    ("template", "own"),
    [
        ("iris", {"model.py"}),
        ("tabular", {"model.py", "customers.csv"}),
        ("text", {"model.py", "messages.csv"}),
        ("mlflow", {"sample.py"}),
    ],
)
def test_a_repository_has_a_small_number_of_files_and_the_name_of_its_model(
    tmp_path: Path, template: Template, own: set[str]
) -> None:
    made = make(Starter("churn-2", template), tmp_path)
    assert {path.name for path in made.iterdir()} == EVERY | own
    texts = {path.name: path.read_text() for path in made.iterdir() if path.is_file()}
    assert not [name for name, text in texts.items() if "mymodel" in text]
    assert re.search(r'name *= *"churn-2"', texts.get("model.py", texts["config.toml"]))
    assert "./vendor/model_service-9.8.7-py3-none-any.whl[train]\n" in texts["requirements.txt"]
    assert len([line for line in texts["README.md"].splitlines() if line]) <= 20
    assert [path.name for path in tmp_path.iterdir()] == ["churn-2"]


def test_the_lock_lists_each_requirement_once_with_its_hashes(tmp_path: Path) -> None:
    text = (make(Starter("churn", "iris"), tmp_path) / "requirements.lock").read_text()
    own, rest = text.split("fastapi", 1)
    assert own.startswith("./vendor/model_service-9.8.7-py3-none-any.whl \\\n    --hash=sha256:")
    assert f"fastapi{rest}" == (
        "fastapi==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "numpy==3.0 ; python_version >= '3.11' \\\n    --hash=sha256:dd\n"
        "pydantic==2.0 \\\n    --hash=sha256:cc\n"
    )


@pytest.mark.parametrize(
    ("address", "section", "local"),
    [
        ("git@github.com:acme/mymodel.git", "github", False),
        ("https://gitlab.example.com/ml/mymodel.git", "gitlab", False),
        ("ssh://git@codeberg.org/acme/x.git", "gitea", False),
        ("file:///srv/git/x.git", "github", True),
        ("/srv/git/x.git", "github", True),
    ],
)
def test_with_an_address_the_config_and_the_remote_have_it(
    tmp_path: Path, address: str, section: str, local: bool
) -> None:
    made = make(Starter("churn", "iris", address), tmp_path)
    config = load(made / "config.toml")
    (app,) = config.app
    assert (app.name, app.repo, app.branch, config.git.allow_file) == ("churn", address, "main", local)
    assert getattr(config, section).secrets == ("env:DEPLOYD_WEBHOOK_SECRET",)
    told = subprocess.run(
        ["git", "remote", "get-url", "origin"], cwd=made, capture_output=True, text=True, check=True
    ).stdout
    assert told == f"{address}\n"


def test_without_an_address_the_config_has_an_example_of_one(tmp_path: Path) -> None:
    (app,) = load(make(Starter("mymodel2", "text"), tmp_path) / "config.toml").app
    assert app.repo == "https://git.example.com/acme/mymodel2.git"
    assert app.golden is not None
    assert app.ready.commit_path == "/version"


def test_a_repository_for_a_registered_model_takes_its_champion_from_an_example_of_a_registry(tmp_path: Path) -> None:
    made = make(Starter("churn", "mlflow", "/srv/git/churn.git"), tmp_path)
    (app,) = load(made / "config.toml").app
    assert app.repo == "/srv/git/churn.git"
    assert app.model is not None
    assert (app.model.registry, app.model.name, app.model.alias) == (EXAMPLE_REGISTRY, "churn", "champion")
    assert f"{app.model.into}/" in (made / ".gitignore").read_text().splitlines()
    assert app.model.into not in (made / ".dockerignore").read_text().splitlines()


def test_both_dockerfiles_begin_alike_so_that_what_is_installed_is_built_once() -> None:
    def first_part(template: str) -> list[str]:
        lines = (repository._FILES / template / "Dockerfile").read_text().partition("COPY . .")[0].splitlines()
        return [line for line in lines if not line.startswith("#")]

    assert first_part("every") == first_part("mlflow")


@pytest.mark.parametrize("name", ["", "My Model", "..", "a/b", "-a", "a-", "a" * 41, "größe", "a\n"])
def test_a_name_that_an_app_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestRefused, match="is not a valid name for a model") as refused:
        make(Starter(name, "iris"), tmp_path)
    assert "lower-case letters" in refused.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address", ["https://ada:token@github.com/acme/x.git", "acme", "./x.git", "https://a/b c", '/srv/"x".git', ""]
)
def test_an_address_that_a_config_cannot_have_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(RequestRefused, match="is not the address of a repository"):
        make(Starter("churn", "iris", address), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_directory_or_link_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("churn", "gone"):
        with pytest.raises(RequestRefused, match=f"{name} exists"):
            make(Starter(name, "iris"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["churn", "gone"]
    assert not list((tmp_path / "churn").iterdir())


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directory: Path) -> Path:
        (directory / "half.whl").write_bytes(b"half")
        raise Unavailable("the disk is full")

    monkeypatch.setattr(repository, "put_wheel", fail)
    with pytest.raises(DeploydError, match="the disk is full"):
        make(Starter("churn", "iris"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_repository_that_the_environment_names_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git's own hooks and aliases set GIT_DIR."""
    subprocess.run(["git", "init", "-q", "other"], cwd=tmp_path, check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    made = make(Starter("churn", "iris", "https://git.example.com/a/b.git"), tmp_path)
    assert "a/b.git" in (made / ".git" / "config").read_text()
    assert "a/b.git" not in (tmp_path / "other" / ".git" / "config").read_text()


def test_without_git_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestRefused, match="git is not installed"):
        make(Starter("churn", "iris"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_empty_clone_is_refused_with_a_hint_how_to_fill_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "churn"], cwd=tmp_path, check=True)
    with pytest.raises(RequestRefused, match="churn exists") as refused:
        make(Starter("churn", "iris"), tmp_path)
    assert "--repo ADDRESS" in refused.value.hint


def test_an_old_python_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    made = make(Starter("churn", "iris"), tmp_path)
    old = tmp_path / "python3.10"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10); exec(sys.argv[2])' \"$@\"\n"
    )
    old.chmod(0o755)
    done = subprocess.run(["make", "try", f"PYTHON={old}"], cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (made / ".venv").exists()


def test_the_first_push_goes_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NAME": "Ada", "EMAIL": "ada@example.com"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    made = make(Starter("churn", "iris", str(remote)), tmp_path)
    commit, push, secret, *_ = under("docs/new.md", "The first push")
    script = f"{commit}\n{push}\n{secret}\ntest ${{#DEPLOYD_WEBHOOK_SECRET}} = 64"
    subprocess.run(["bash", "-euc", script], cwd=made, check=True)
    subprocess.run(["git", "rev-parse", "--quiet", "--verify", "main"], cwd=remote, check=True)
