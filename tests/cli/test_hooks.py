"""`deployd hook` against small forges on loopback."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.github import GitHub, github
from tests.hooks_api import hooks_api

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
def test_the_webhook_sends_pull_requests_too_if_an_app_of_the_repository_proves_them(
    hub: GitHub, config: Path, command: Command
) -> None:
    text = config.read_text()
    other = text[text.index("[[app]]") :].replace('"iris"', '"rose"').replace("listen = 1", "listen = 2")
    config.write_text(text + other + "prove_pull_requests = true\n")
    assert command("hook", "install", "iris", "-c", str(config)).exit_code == 0
    assert hub.hooks[1]["events"] == ["push", "pull_request"]
    config.write_text(config.read_text().replace('token = "env:HUB_TOKEN"', ""))
    assert "Pull requests, Pushes" in command("hook", "install", "iris", "-c", str(config)).stdout


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
    listed = json.loads(command("hook", "redeliver", "iris", "--dry-run", "--json", "-c", str(config)).stdout)
    assert [one["event"] for one in listed["deliveries"]] == ["push"]
    assert hub.redelivered == []
    assert "GitHub was asked to send them again" in command("hook", "redeliver", "iris", "-c", str(config)).stdout
    assert hub.redelivered == [4]


@pytest.mark.slow
def test_an_app_that_is_not_configured_is_refused(config: Path, command: Command) -> None:
    refused = command("hook", "install", "nope", "-c", str(config))
    assert (refused.exit_code, "configured apps: iris" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_a_repository_on_none_of_the_forges_is_refused(hub: GitHub, config: Path, command: Command) -> None:
    config.write_text(config.read_text().replace("127.0.0.1/acme/iris", "git.example.com/acme/iris"))
    refused = command("hook", "install", "iris", "-c", str(config))
    words = "is on none of the forges of the config: 127.0.0.1, gitlab.com, codeberg.org, bitbucket.org"
    assert refused.exit_code == 1
    assert words in " ".join(refused.stderr.split())
    assert hub.hooks == {}


@pytest.mark.slow
def test_a_repository_that_is_a_path_must_say_what_its_forge_calls_it(config: Path, command: Command) -> None:
    text = config.read_text().replace('webhook = "127.0.0.1/acme/iris"\n', "")
    config.write_text(text.replace("https://example.com/iris.git", "/srv/iris.git") + "[git]\nallow_file = true\n")
    refused = command("hook", "install", "iris", "-c", str(config))
    assert (refused.exit_code, 'webhook = "HOST/OWNER/NAME"' in refused.stderr) == (1, True)


def _on(config: Path, section: str, repository: str) -> None:
    """The app's repository is on another forge, of which there is a secret and no token."""
    text = config.read_text().replace("127.0.0.1/acme/iris", repository)
    config.write_text(text + f'[{section}]\nsecrets = ["env:HOOK_SECRET"]\n')


@pytest.mark.parametrize(
    ("section", "repository", "path", "field"),
    [
        ("gitlab", "gitlab.com/acme/ml/iris", "/webhooks/gitlab", "Push events (all branches) and Tag push events"),
        ("gitea", "codeberg.org/acme/iris", "/webhooks/gitea", "POST content type"),
        ("bitbucket", "bitbucket.org/acme/iris", "/webhooks/bitbucket", "Repository: Push"),
    ],
)
def test_without_a_token_the_fields_of_the_forges_own_form_are_printed(
    config: Path, command: Command, section: str, repository: str, path: str, field: str
) -> None:
    _on(config, section, repository)
    told = command("hook", "install", "iris", "-c", str(config))
    assert told.exit_code == 0, told.output
    for words in (f"There is no [{section}] token", f"https://deployd.example.com{path}", field, "env:HOOK_SECRET"):
        assert words in told.stdout
    assert "hook-secret" not in told.output


def test_redelivery_is_asked_of_github_alone(config: Path, command: Command) -> None:
    _on(config, "gitlab", "gitlab.com/acme/iris")
    refused = command("hook", "redeliver", "iris", "-c", str(config))
    assert (refused.exit_code, "is on GitLab; this command works only with GitHub" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("section", "below", "hooks", "auth", "secret"),
    [
        ("gitlab", "/api/v4", "/api/v4/projects/acme%2Fml%2Firis/hooks", ("PRIVATE-TOKEN", "t"), ["token"]),
        ("gitlab", "/git/api/v4", "/git/api/v4/projects/acme%2Fml%2Firis/hooks", ("PRIVATE-TOKEN", "t"), ["token"]),
        ("gitea", "/api/v1", "/api/v1/repos/acme/ml/iris/hooks", ("Authorization", "token t"), ["config", "secret"]),
        (
            "bitbucket",
            "/rest/api/1.0",
            "/rest/api/1.0/projects/ml/repos/iris/webhooks",
            ("Authorization", "Bearer t"),
            ["configuration", "secret"],
        ),
    ],
)
@pytest.mark.slow
def test_install_makes_the_webhook_on_every_forge_and_then_updates_it(
    config: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    below: str,
    hooks: str,
    auth: tuple[str, str],
    secret: list[str],
) -> None:
    monkeypatch.setenv("FORGE_TOKEN", "t")
    root = below.partition("/api/")[0] if section == "gitlab" else ""
    with hooks_api(hooks, auth, wrapped=section == "bitbucket") as forge:
        text = config.read_text().replace("127.0.0.1/acme/iris", f"127.0.0.1{root}/acme/ml/iris")
        text = text.replace(f'api_url = "{text.partition("api_url = ")[2].split(chr(34))[1]}"\n', "")
        config.write_text(
            text
            + f'[{section}]\nsecrets = ["env:HOOK_SECRET"]\ntoken = "env:FORGE_TOKEN"\napi_url = "{forge.url}{below}"\n'
        )
        first = command("hook", "install", "iris", "-c", str(config))
        assert (first.exit_code, "webhook 1 of" in first.stdout, "is new" in first.stdout) == (0, True, True), (
            first.output
        )
        assert "is up to date" in command("hook", "install", "iris", "-c", str(config)).stdout
        made = forge.hooks[1]
        value: Any = made
        for key in secret:
            value = value[key]
        assert value == "hook-secret"
        assert f"https://deployd.example.com/webhooks/{section}" in (made.get("url"), made.get("config", {}).get("url"))
        assert len(forge.hooks) == 1
        monkeypatch.setenv("FORGE_TOKEN", "wrong")
        refused = command("hook", "install", "iris", "-c", str(config))
        assert (refused.exit_code, "does not let this token manage the webhooks of" in refused.stderr) == (1, True)
    gone = command("hook", "install", "iris", "-c", str(config))
    assert (gone.exit_code, "does not answer" in gone.stderr) == (1, True)
