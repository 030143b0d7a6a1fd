"""The repository as a newcomer meets it: what the README says can be typed, and what it names is there."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from deployd.check import check
from deployd.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

# Registries and mirrors, and where one person's machine keeps its files; put together, so that this file does not hold them.
HOSTS = [
    ".".join(parts)
    for parts in (["pypi", "org"], ["pythonhosted", "org"], ["registry", "npmjs", "org"], ["deb", "debian", "org"])
]
PLACES = [f"/{name}/" for name in ("work", "home")]
GENERATED = {
    "requirements.lock",
    "deployd/requirements.lock",
    "model_service/serving.lock",
    "model_service/training.lock",
}


def _fenced() -> Iterator[str]:
    """The lines inside the README's fences, those continued by a backslash as one."""
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()


def _commands() -> list[list[str]]:
    """The words of every `deployd …` that the README tells to type, without the remark behind; not a command's bare name."""
    lines = (re.sub(r"\s{2,}.*|#.*", "", line.strip()).removeprefix("$ ") for line in _fenced())
    found = [part.strip().split() for line in lines for part in line.split("&&")]
    inline = (text.split() for text in re.findall(r"`(deployd [^`\s]+ [^`]+)`", README))
    return [words[1:] for words in (*found, *inline) if words[:1] == ["deployd"] and len(words) > 1]


def _files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_what_the_readme_says_can_be_typed(words: list[str]) -> None:
    command = get_command(app)
    context = typer.Context(command, info_name="deployd")
    while hasattr(command, "commands") and words:
        name, *words = words
        assert name in command.commands, f"deployd has no command {name}"
        command = command.commands[name]
        context = typer.Context(command, info_name=name, parent=context)
    command.parse_args(context, [word.partition("|")[0] for word in words])


def test_the_readme_shows_commands() -> None:
    assert {words[0] for words in _commands()} >= {
        "check",
        "deploy",
        "history",
        "hook",
        "logs",
        "status",
        "token",
    }


def test_every_target_of_make_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|&& |^)make (\w+)", README, re.MULTILINE)) <= targets


def test_every_file_that_the_readme_names_is_there() -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)\)", README))
    named = set(
        re.findall(r"`((?:[\w.-]+/)*(?:[A-Z]\w+\.\w+|[\w-]+\.(?:toml|lock|md|service|socket)|[\w-]+/))`", README)
    )
    assert "CHANGELOG.md" in linked
    for name in linked | (named - {"/etc/deployd/config.toml"}):
        places = [ROOT / name, ROOT / "systemd" / name]
        assert any(place.exists() for place in places), name


def test_every_unit_and_directory_that_is_copied_is_there() -> None:
    for line in _fenced():
        for name in re.findall(r"(?<![\w/])systemd/[\w.]+", line):
            assert (ROOT / name).is_file()


async def test_the_repositorys_own_config_lacks_nothing_but_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPLOYD_WEBHOOK_SECRET", raising=False)
    before = [finding for finding in await check(ROOT / "config.toml") if finding.in_config]
    assert [finding.what for finding in before if finding.what != "state"] == ["secret"]
    monkeypatch.setenv("DEPLOYD_WEBHOOK_SECRET", "a secret")
    after = [finding for finding in await check(ROOT / "config.toml") if finding.in_config]
    assert [finding for finding in after if finding.what != "state"] == []


@pytest.mark.parametrize("word", [*HOSTS, *PLACES])
def test_no_file_speaks_of_a_registry_or_of_one_machine(word: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for path in _files()
        for line in path.read_text(errors="replace").splitlines()
        if re.search(rf"(?<![\w.-]){re.escape(word)}", line)
    ]
    assert found == []


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", head) for head in heads[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
