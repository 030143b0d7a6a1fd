"""Logs in to the GitHub of the config: by an App where there is one, else by a token."""

from collections.abc import Callable, Iterable, Mapping

from deployd.config.daemon import Github
from deployd.config.values import read_secret, read_token
from deployd.reporters.github_api import GitHubApi, PersonalToken, Wire
from deployd.reporters.github_app import AppTokens


def log_in(
    settings: Github, hide: Callable[[Iterable[str]], object] = list, rights: Mapping[str, str] | None = None
) -> GitHubApi:
    """The API of `[github]`; its secrets are told to `hide`. An App's tokens have `rights`, or else those that `report` needs.
    Raises ConfigError."""
    wire = Wire(settings.api_url)
    if (app := settings.app) is not None:
        key = read_secret(app.key, "github.app.key")
        hide([key])
        wanted = rights or {settings.report: "write", "statuses": "write", "checks": "write"}
        return GitHubApi(wire, AppTokens(wire, app.id, key, app.installation, wanted))
    assert settings.token is not None  # noqa: S101 - the config says so
    token = read_token(settings.token, "github.token")
    hide([token])
    return GitHubApi(wire, PersonalToken(token))
