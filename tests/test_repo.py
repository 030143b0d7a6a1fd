"""The repository as a whole: its own config, what no file may name, the form of the changelog."""

import re
import subprocess
from pathlib import Path

import pytest

from deployd.check.check import check

ROOT = Path(__file__).parents[1]

# Registries and mirrors, and where one person's machine keeps its files; put together, so that this file does not hold them.
HOSTS = [
    ".".join(parts)
    for parts in (["pypi", "org"], ["pythonhosted", "org"], ["registry", "npmjs", "org"], ["deb", "debian", "org"])
]
PLACES = [f"/{name}/" for name in ("work", "home")]
WORDS = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, [*HOSTS, *PLACES]))})")


def _files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


async def test_the_config_of_the_repository_needs_nothing_but_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPLOYD_WEBHOOK_SECRET", raising=False)
    before = [finding for finding in await check(ROOT / "config.toml") if finding.in_config]
    assert [finding.what for finding in before if finding.what != "state"] == ["secret"]
    monkeypatch.setenv("DEPLOYD_WEBHOOK_SECRET", "a secret")
    after = [finding for finding in await check(ROOT / "config.toml") if finding.in_config]
    assert [finding for finding in after if finding.what != "state"] == []


def test_no_file_names_a_package_registry_or_the_paths_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for path in _files()
        for line in path.read_text(errors="replace").splitlines()
        if WORDS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("word", [*HOSTS, *PLACES])
def test_each_of_these_words_would_be_found(word: str) -> None:
    assert WORDS.search(f"see https://{word}/simple") or WORDS.search(f"in {word}me")


def test_the_lock_for_traces_adds_only_their_packages_to_the_daemons() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[a-z][^ ]*==[^ ]+", (ROOT / lock).read_text(), re.MULTILINE))

    everything, daemon, traced = (
        pins(f"{place}.lock") for place in ("requirements", "deployd/requirements", "deployd/otel")
    )
    assert daemon < traced <= everything


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", head) for head in heads[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
