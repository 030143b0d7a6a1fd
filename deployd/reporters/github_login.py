"""Logs in to the GitHub of the config: by an App where there is one, else by a token."""

from collections.abc import Callable, Iterable

from deployd.config.daemon import Github
from deployd.config.values import read_secret
from deployd.reporters.github_api import GitHubApi, PersonalToken, Wire
from deployd.reporters.github_app import AppTokens


def log_in(settings: Github, hide: Callable[[Iterable[str]], object] = list) -> GitHubApi:
    """The API of `[github]`, for `report`; its secrets are told to `hide`. Raises ConfigError."""
    wire = Wire(settings.api_url)
    if (app := settings.app) is not None:
        key = read_secret(app.key, "github.app.key")
        hide([key])
        rights = {settings.report: "write", "statuses": "write", "checks": "write"}
        return GitHubApi(wire, AppTokens(wire, app.id, key, app.installation, rights))
    assert settings.token is not None  # noqa: S101 - the config says so
    token = read_secret(settings.token, "github.token")
    hide([token])
    return GitHubApi(wire, PersonalToken(token))
