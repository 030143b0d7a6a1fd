"""`deployd hook`: make and maintain the webhook on GitHub."""

from typing import Annotated
from urllib.parse import urlsplit

import typer

from deployd.cli import github_hooks
from deployd.cli.command import Commands
from deployd.cli.local import ConfigPath
from deployd.cli.output import AppName, out
from deployd.config.daemon import Config
from deployd.config.file import default_path, load
from deployd.config.values import read_secret
from deployd.errors import ConfigError, RequestRefused
from deployd.forges.github import GitHub

app = Commands(no_args_is_help=True, help="The webhook on GitHub.", rich_markup_mode=None)

_PATH = GitHub.paths[0]


@app.command(epilog="Example: deployd hook install iris")
def install(app: AppName, config: ConfigPath = None) -> None:
    """Make an app's webhook on GitHub, or bring it up to date. Without a token, print the fields of its form."""
    settings = load(config or default_path())
    repository = _repository(settings, app)
    if settings.github.token is None:
        _say_fields(settings, repository)
        return
    if not settings.github.secrets:
        raise ConfigError("github.secrets: a webhook needs a secret", hint='secrets = ["env:DEPLOYD_WEBHOOK_SECRET"]')
    with _hooks(settings, settings.github.token, repository) as hooks:
        number, new = hooks.install(_url(settings), read_secret(settings.github.secrets[0], "github.secrets[0]"))
    out().print(f"webhook {number} of {repository} {'is new' if new else 'is up to date'}: {_url(settings)}")


@app.command(epilog="Example: deployd hook redeliver iris")
def redeliver(
    app: AppName,
    config: ConfigPath = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
) -> None:
    """Ask GitHub again for the deliveries that never succeeded."""
    settings = load(config or default_path())
    repository = _repository(settings, app)
    if settings.github.token is None:
        raise ConfigError("github.token: this needs a token for GitHub", hint='token = "env:GITHUB_TOKEN" in [github]')
    with _hooks(settings, settings.github.token, repository) as hooks:
        lost = hooks.lost(_url(settings))
        for delivery in lost:
            out().print(f"{delivery.guid} {delivery.event} {delivery.delivered_at} {delivery.status}")
            if not dry:
                hooks.redeliver(delivery)
    count = f"{len(lost)} {'delivery' if len(lost) == 1 else 'deliveries'} never succeeded"
    out().print(count if dry or not lost else f"{count}; GitHub was asked to send them again")


def _repository(config: Config, name: str) -> str:
    app = config.find(name)
    if app is None:
        known = ", ".join(one.name for one in config.app) or "none"
        raise RequestRefused(404, f"there is no app {name} in the config", hint=f"configured apps: {known}")
    if app.webhook_name is None:
        hint = f'set webhook = "github.com/OWNER/NAME" in the app {name}'
        raise RequestRefused(409, f"the repository of {name} is {app.repo}, which is not on GitHub", hint=hint)
    return app.webhook_name


def _hooks(config: Config, token: str, repository: str) -> github_hooks.Hooks:
    host, _, path = repository.partition("/")
    api = urlsplit(config.github.api_url).hostname or ""
    if host != api.removeprefix("api."):
        hint = "set api_url in [github] to that of the repository's GitHub Enterprise Server"
        raise RequestRefused(409, f"{repository} is not on the GitHub of {config.github.api_url}", hint=hint)
    return github_hooks.Hooks(config.github.api_url, read_secret(token, "github.token"), path)


def _url(config: Config) -> str:
    if not config.server.base_url:
        raise ConfigError(
            "server.base_url: GitHub needs the address of deployd",
            hint="set base_url in [server] to the public address of deployd; behind NAT, deployd needs no webhook",
        )
    return config.server.base_url.rstrip("/") + _PATH


def _say_fields(config: Config, repository: str) -> None:
    secret = (
        f"the value of {config.github.secrets[0]}"
        if config.github.secrets
        else "a long random text; name it in [github] secrets too"
    )
    base = config.server.base_url.rstrip("/")
    url = base + _PATH if base else f"deployd's public address (none is set: base_url in [server]), then {_PATH}"
    out().print(
        f"There is no [github] token: fill in the form of {repository}, Settings > Webhooks > Add webhook", style="bold"
    )
    fields = {
        "Payload URL": url,
        "Content type": "application/json",
        "Secret": secret,
        "SSL verification": "enabled",
        "Which events": "Just the push event",
        "Active": "yes",
    }
    for name, value in fields.items():
        out().print(f"  {name:<17} {value}", soft_wrap=True)
