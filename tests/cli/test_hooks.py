"""`deployd hook` against a small GitHub on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.github import GitHub, github

Command = Callable[..., Result]


@pytest.fixture
def hub() -> Iterator[GitHub]:
    with github("github-token", "acme/iris") as running:
        yield running


@pytest.fixture
def config(hub: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        '[server]\nbase_url = "https://deployd.example.com/"\n'
        f'[github]\nsecrets = ["env:HOOK_SECRET"]\napi_url = "{hub.url}"\ntoken = "env:HUB_TOKEN"\n'
        '[[app]]\nname = "iris"\nrepo = "https://example.com/iris.git"\nwebhook = "127.0.0.1/acme/iris"\n'
        'branch = "main"\ngateway = { listen = 1 }\n'
    )
    monkeypatch.setenv("HOOK_SECRET", "hook-secret")
    monkeypatch.setenv("HUB_TOKEN", "github-token")
    return file


@pytest.mark.slow
def test_install_makes_the_webhook(hub: GitHub, config: Path, command: Command) -> None:
    first = command("hook", "install", "iris", "-c", str(config))
    assert (first.exit_code, "is new" in first.stdout) == (0, True), first.output
    assert "is up to date" in command("hook", "install", "iris", "-c", str(config)).stdout
    assert hub.hooks[1]["config"]["url"] == "https://deployd.example.com/webhooks/github"
    assert hub.hooks[1]["config"]["secret"] == "hook-secret"
    assert "hook-secret" not in first.output


@pytest.mark.slow
def test_without_a_token_the_fields_of_the_form_are_printed(config: Path, command: Command) -> None:
    config.write_text(config.read_text().replace('token = "env:HUB_TOKEN"', ""))
    told = command("hook", "install", "iris", "-c", str(config))
    assert told.exit_code == 0
    for words in ("https://deployd.example.com/webhooks/github", "application/json", "the value of env:HOOK_SECRET"):
        assert words in told.stdout
    assert "hook-secret" not in told.output


@pytest.mark.slow
def test_without_an_address_the_form_invents_none(config: Path, command: Command) -> None:
    text = config.read_text().replace('token = "env:HUB_TOKEN"', "")
    config.write_text(text.replace('base_url = "https://deployd.example.com/"', ""))
    told = command("hook", "install", "iris", "-c", str(config))
    assert "deployd's public address (none is set: base_url in [server]), then /webhooks/github" in told.stdout
    assert "https://" not in told.stdout
    assert "deployd.example.com" not in told.stdout


@pytest.mark.slow
def test_redeliver_asks_for_the_lost_deliveries(hub: GitHub, config: Path, command: Command) -> None:
    assert command("hook", "redeliver", "iris", "-c", str(config)).exit_code == 1
    command("hook", "install", "iris", "-c", str(config))
    lost = {"guid": "g", "event": "push", "delivered_at": "today", "status": "timed out", "status_code": 0}
    hub.deliveries = [{"id": 4, **lost}]
    assert "1 delivery never succeeded\n" in command("hook", "redeliver", "iris", "--dry-run", "-c", str(config)).stdout
    assert hub.redelivered == []
    assert "GitHub was asked to send them again" in command("hook", "redeliver", "iris", "-c", str(config)).stdout
    assert hub.redelivered == [4]


@pytest.mark.slow
def test_an_app_that_is_not_configured_is_refused(config: Path, command: Command) -> None:
    refused = command("hook", "install", "nope", "-c", str(config))
    assert (refused.exit_code, "configured apps: iris" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_a_repository_on_another_host_than_the_api_is_refused(hub: GitHub, config: Path, command: Command) -> None:
    config.write_text(config.read_text().replace("127.0.0.1/acme/iris", "gitlab.com/acme/iris"))
    refused = command("hook", "install", "iris", "-c", str(config))
    assert (refused.exit_code, "gitlab.com/acme/iris is not on the GitHub of" in refused.stderr) == (1, True)
    assert hub.hooks == {}


@pytest.mark.slow
def test_a_repository_that_is_a_path_must_say_what_github_calls_it(config: Path, command: Command) -> None:
    text = config.read_text().replace('webhook = "127.0.0.1/acme/iris"\n', "")
    config.write_text(text.replace("https://example.com/iris.git", "/srv/iris.git") + "[git]\nallow_file = true\n")
    refused = command("hook", "install", "iris", "-c", str(config))
    assert (refused.exit_code, 'webhook = "github.com/OWNER/NAME"' in refused.stderr) == (1, True)
