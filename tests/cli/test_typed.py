"""The `deployd` commands that the pages show, run against a daemon as a reader would type them."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from deployd.domain import Deploy
from deployd.status import Status
from tests.api.pushes import answered, pushed
from tests.cli.conftest import Neighbour
from tests.desk import REPO, A, B, C, Desk, config_of, settings
from tests.starter.wheels import small_wheel
from tests.typed import PAGES, arguments, lines, parts

__all__ = ["small_wheel"]  # a fixture

Command = Callable[..., Result]

TYPED = sorted({arguments(part) for page in PAGES for _, line in lines(page) for part in parts(line)} - {()})
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
ELSEWHERE = {
    "run": "test_app.py starts it and ends it",
    "demo": "tests/e2e/test_demo.py",
    "install": "tests/booted/, on a machine of its own",
    "uninstall": "tests/booted/, on a machine of its own",
    "check": "tests/booted/ and tests/e2e/test_image.py: it asks an engine",
    "hook": "test_hooks.py, with a forge",
    "golden record": "test_golden.py, with a service that answers",
    "golden try": "test_golden.py, with a service that answers",
    "applog iris -f": "test_commands.py: it goes on with the next release",
    "status --watch": "test_status.py: it never ends by itself",
    "status iris --watch": "test_status.py: it never ends by itself",
    "exec -it": "test_terminal.py: it takes a terminal",
    "--install-completion": "tests/booted/: it writes for the shell from which it is typed",
}
"""Beginnings of commands that are not run here, and where they are instead."""


def _elsewhere(typed: tuple[str, ...]) -> bool:
    return any(f"{' '.join(typed)} ".startswith(f"{beginning} ") for beginning in ELSEWHERE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    """One daemon for all of them, whose remote has the branches and the tag that are named."""
    with Neighbour(tmp_path_factory.mktemp("typed") / "state") as running:
        named = {
            "refs/heads/old": A,
            "refs/heads/next": B,
            "refs/heads/feature": C,
            "refs/heads/feature/deeper-tree": C,
            "refs/tags/v1.2": C,
        }
        running.desk.source.remotes[REPO] |= named
        running.desk.target.replicas = 1
        running.do(pushed(running.desk, A, GUID))
        running.do(answered(running.desk, GUID))
        yield running


@pytest.fixture
def served(
    shared: Neighbour, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_wheel: None
) -> int:
    """The number of the release that serves iris, after another one; the daemon is named, in an empty repository."""
    monkeypatch.setenv("DEPLOYD_URL", shared.url)
    monkeypatch.delenv("DEPLOYD_TOKEN", raising=False)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    assert command("reload").exit_code == 0
    shared.do(shared.desk.scheduler.pause("iris", paused=False))
    shared.do(_live(shared.desk, A))
    return shared.do(_live(shared.desk, B)).number


async def _live(desk: Desk, commit: str) -> Deploy:
    """Deploy the commit by hand. The head stays where it is, so that no look, such as after a reload, deploys another one."""
    deploy = await desk.scheduler.deploy("iris", commit, "a test")
    return await desk.becomes("iris", deploy.number, Status.LIVE)


@pytest.mark.slow
@pytest.mark.parametrize("typed", [typed for typed in TYPED if not _elsewhere(typed)], ids=" ".join)
def test_a_command_that_is_shown_does_what_it_says(
    typed: tuple[str, ...], shared: Neighbour, served: int, command: Command
) -> None:
    if typed[0] == "cancel":
        shared.do(shared.desk.scheduler.pause("iris", paused=True))
        shared.do(shared.desk.scheduler.deploy("iris", A, "a test"))
    if typed[0] == "remove":
        shared.desk.next_config = config_of(settings("rose"))
        assert command("reload").exit_code == 0
        shared.desk.next_config = config_of(settings("iris", "rose"))
    if typed[:2] == ("token", "list"):
        Path("config.toml").write_text("")
        typed = (*typed, "--config", "config.toml")
    done = command(*_mapped(typed, served))
    assert done.exit_code == 0, done.output
    assert done.output.strip(), "it prints something"


def _mapped(typed: tuple[str, ...], served: int) -> list[str]:
    """The command with the numbers, the file and the command that are there: 42 serves, 41 did before it, 43 comes next."""
    ours, *inside = " ".join(typed).split(" -- ")
    numbered = re.sub(r"\b4[123]\b", lambda found: str(served - 42 + int(found[0])), ours)
    return [*numbered.replace("/var/backups/", "").split(), *(["--", "true"] if inside else [])]


def test_every_command_that_is_left_out_here_is_shown_somewhere() -> None:
    shown = [f"{' '.join(typed)} " for typed in TYPED]
    assert [one for one in ELSEWHERE if not any(typed.startswith(f"{one} ") for typed in shown)] == []
