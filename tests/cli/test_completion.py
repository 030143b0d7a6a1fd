"""What TAB offers: by the functions, and in the shells themselves."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployd.api.answers import DeployAnswer
from deployd.cli import completion
from deployd.cli.completion import Offer
from tests.cli.conftest import Neighbour
from tests.conftest import needed
from tests.desk import A, B
from tests.testbed.programs import unpacked


def _words(offers: list[Offer]) -> list[str]:
    return [word for word, _ in offers]


def test_apps_and_the_numbers_of_their_deploys_are_offered(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    assert _words(completion.apps("")) == ["iris", "rose"]
    assert _words(completion.deploys("ro")) == ["rose"]
    assert _words(completion.deploys("iris/")) == ["iris/2", "iris/1"]
    assert _words(completion.deploys("iris/2")) == ["iris/2"]
    said = dict(completion.deploys("iris/"))["iris/2"]
    assert said.startswith(f"live {B[:8]}, ")
    assert completion.deploys("none/") == []


def test_a_rollback_is_offered_the_releases_that_served_before(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    context = cast("Any", SimpleNamespace(params={"name": None}, args=["iris"]))
    assert _words(completion.releases(context, "")) == ["1"]


def test_a_daemon_that_is_away_offers_nothing_without_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in (f"unix://{tmp_path}/none", "http://127.0.0.1:9", "nonsense"):
        monkeypatch.setenv("DEPLOYD_URL", url)
        assert completion.apps("") == []
    assert capsys.readouterr() == ("", "")


def test_a_daemon_that_is_slow_is_not_waited_for(daemon: Neighbour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "_SECONDS", 0.0)
    assert completion.apps("") == []


def test_nothing_that_a_shell_would_evaluate_is_offered() -> None:
    hostile = ["a b", "$(id)", "`id`", "a;b", "a'b", 'a"b', "a)b", "é", "a\nb", "a\\b"]
    offers = [(word, "") for word in [*hostile, "72d3162e-cc78", "iris/42"]]
    assert _words(list(completion._plain("", offers))) == ["72d3162e-cc78", "iris/42"]


def test_an_offer_says_nothing_that_comes_with_a_commit() -> None:
    trigger = {"kind": "push"}
    text = {"subject": "$(touch /tmp/x)", "author": "`id`", "ref": "refs/heads/$(id)", "reason": "[/b]"}
    deploy = DeployAnswer.model_validate(
        {
            "app": "iris",
            "number": 1,
            "commit": A,
            "status": "failed",
            "trigger": trigger,
            "created_at": datetime.now(UTC),
        }
        | text
    )
    assert completion._deploy(deploy) == f"failed {A[:8]}, 0s"


# On a busy machine a test waits longer than a person who has pressed TAB.
PATIENT = """
from deployd.cli import completion
from deployd.cli.app import run
completion._SECONDS = 120.0
run()
"""

BASH = """
eval "$(deployd completion bash)"
complete_it() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _deployd_completion deployd
    echo "${COMPREPLY[*]}"
}
complete_it deployd logs iris/
complete_it deployd rollback iris --to ""
complete_it deployd token new ci --role d
"""

# The functions of zsh's own completion are scripted: they need its line editor, and that a terminal.
ZSH = """
compdef() { }
_arguments() { print -r -- "$1" }
source <(deployd completion zsh)
complete_it() { words=("$@"); CURRENT=$#; _deployd_completion }
complete_it deployd describe iris/
"""

FISH = """
deployd completion fish | source
complete -C "deployd describe iris/"
"""


@pytest.fixture
def environment(daemon: Neighbour, tmp_path: Path) -> dict[str, str]:
    """Two deploys of iris, and `deployd` on PATH."""
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    command = tmp_path / "bin" / "deployd"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{PATIENT}")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}


def _run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_bash_completes_numbers_and_roles(environment: dict[str, str]) -> None:
    said = _run(environment, "bash", "--norc", "-c", BASH).splitlines()
    assert said == ["iris/2 iris/1", "1", "deploy"]


@pytest.mark.slow
def test_zsh_completes_numbers_and_says_what_they_are(environment: dict[str, str]) -> None:
    shell = needed(lambda: unpacked("zsh")) / "bin" / "zsh"
    said = _run(environment, str(shell), "-f", "-c", ZSH)
    assert f'"iris/2":"live {B[:8]}, ' in said
    assert f'"iris/1":"retired {A[:8]}, ' in said


@pytest.mark.slow
def test_fish_completes_numbers_and_says_what_they_are(environment: dict[str, str], tmp_path: Path) -> None:
    shell, data, library = (needed(partial(unpacked, name)) for name in ("fish", "fish-common", "libpcre2-32-0"))
    place = tmp_path / "fish"  # it looks for its functions beside itself
    for part in ("bin", "share", "etc/fish"):
        (place / part).mkdir(parents=True)
    shutil.copy(shell / "usr/bin/fish", place / "bin" / "fish")
    (place / "share/fish").symlink_to(data / "usr/share/fish")
    (libraries,) = {found.parent for found in library.rglob("libpcre2-32.so.0")}
    environment["LD_LIBRARY_PATH"] = str(libraries)
    said = _run(environment, str(place / "bin/fish"), "--no-config", "-c", FISH).splitlines()
    assert sorted(line.partition(", ")[0] for line in said) == [
        f"iris/1\tretired {A[:8]}",
        f"iris/2\tlive {B[:8]}",
    ]
