"""A new repository for a model: the files of a template, with the name of the model and the address of its remote.

The templates are files that run as they are, for a model with the name mymodel. A repository is made aside and moved when it is
whole.
"""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from deployd.config.app import App
from deployd.config.remotes import forge_section
from deployd.config.values import Name
from deployd.errors import RequestRefused
from deployd.starter.wheel import lock, put_wheel

Template = Literal["iris", "tabular", "text", "mlflow"]
TEMPLATES: tuple[str, ...] = get_args(Template)
BRANCH = "main"
EXAMPLE = "https://git.example.com/acme/"
"""How the address in config.toml begins as long as nobody has written the real one."""
EXAMPLE_REGISTRY = "https://mlflow.example.com"
"""The address of the registry in config.toml as long as nobody has written the real one."""

_FILES = Path(__file__).parent / "templates"
_NAME, _WHEEL = "mymodel", "model_service-0-py3-none-any.whl"
_HIDDEN = {"gitignore": ".gitignore", "dockerignore": ".dockerignore"}


@dataclass(frozen=True, slots=True)
class Starter:
    """The order for a repository: the model's name, the template, and the address of the remote, if there is one yet."""

    name: str
    template: Template
    address: str | None = None


def make(starter: Starter, parent: Path) -> Path:
    """Make the repository in `parent`, whole or not at all; its directory. RequestRefused when it cannot be."""
    _check(starter)
    target = parent / starter.name
    if target.exists() or target.is_symlink():
        raise RequestRefused(409, f"{target.absolute()} exists", hint=_instead_of(target))
    with tempfile.TemporaryDirectory(prefix=f".{starter.name}-", dir=parent) as aside:
        made = Path(aside) / starter.name
        made.mkdir()
        _write(starter, made)
        _git(made, "init", "--quiet", f"--initial-branch={BRANCH}")
        if starter.address is not None:
            _git(made, "remote", "add", "origin", starter.address)
        made.rename(target)
    return target


def _instead_of(target: Path) -> str:
    """A hint about a directory that exists: a person who has cloned an empty repository wants to fill that one."""
    if target.is_dir() and [path.name for path in target.iterdir()] == [".git"]:
        return "it is an empty clone: remove it, and give its address with --repo ADDRESS"
    return "choose another name, or remove it"


def _check(starter: Starter) -> None:
    try:
        TypeAdapter(Name).validate_python(starter.name)
    except ValidationError:
        raise RequestRefused(
            409,
            f"{starter.name!r} is not a valid name for a model",
            hint="use lower-case letters, digits and hyphens, at most 40, with no hyphen at either end: it names the "
            "directory, the app and its images",
        ) from None
    if starter.address is not None:
        _check_address(starter.address)


def _check_address(address: str) -> None:
    try:
        App.model_validate({"name": "a", "repo": address, "branch": BRANCH, "gateway": {"listen": 1}})
        unfit = re.search(r"[\s\"\\]", address) is not None
    except ValidationError as exc:
        raise RequestRefused(
            409, f"{address} is not the address of a repository: {exc.errors()[0]['ctx']['error']}"
        ) from None
    if unfit or address.startswith("."):
        raise RequestRefused(409, f"{address} is not the address of a repository", hint="name an https or ssh address")


def _write(starter: Starter, made: Path) -> None:
    """Write all files of the repository."""
    (made / "vendor").mkdir()
    wheel = put_wheel(made / "vendor")
    for folder in (_FILES / "every", _FILES / starter.template):
        for file in sorted(folder.iterdir()):
            if file.name == "__pycache__":
                continue
            copied = Path(shutil.copyfile(file, made / _HIDDEN.get(file.name, file.name)))
            if file.suffix != ".csv":
                copied.write_text(_rendered(copied.read_text("utf-8"), starter, wheel.name), "utf-8")
    (made / "requirements.lock").write_text(lock(wheel), "utf-8")


def _rendered(text: str, starter: Starter, wheel: str) -> str:
    """The text of a template's file, for this model."""
    text = text.replace(_NAME, starter.name).replace(_WHEEL, wheel)
    if starter.address is not None:
        text = text.replace(f"{EXAMPLE}{starter.name}.git", starter.address)
        text = text.replace("\n[github]\n", f"\n[{forge_section(starter.address)}]\n")
        if starter.address.startswith(("/", "file:")):
            text = text.replace("\nallow_file = false ", "\nallow_file = true  ")
    return text


def _git(directory: Path, *arguments: str) -> None:
    """Run git there, whatever other repository the environment names, as it does in a hook or in an alias of git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise RequestRefused(409, "git is not installed", hint="apt-get install git") from None
    if done.returncode != 0:
        raise RequestRefused(409, f"git {arguments[0]} failed: {done.stderr.strip()}")
