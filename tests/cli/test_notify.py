"""`deployd notify test` against a running daemon."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.conftest import Neighbour

Command = Callable[..., Result]


def test_without_urls_it_says_how_to_add_one(daemon: Neighbour, command: Command) -> None:
    result = command("notify", "test")
    assert result.exit_code == 0
    assert "nobody is notified: [notify] has no urls" in result.stderr
    assert json.loads(command("notify", "test", "--json").stdout) == {"sent": []}


@pytest.mark.slow
def test_each_url_is_tried_and_a_bad_one_is_told_without_its_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("CHAT", "slock://hidden-token")
    with Neighbour(tmp_path / "state", notify={"urls": ["env:CHAT"]}) as running:
        monkeypatch.setenv("DEPLOYD_URL", running.url)
        result = command("notify", "test")
    assert result.exit_code == 1
    assert result.stdout.startswith("env:CHAT: Apprise cannot use the URL")
    assert "hidden" not in result.stdout
