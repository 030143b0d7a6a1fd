"""`deployd hook`: make and maintain the webhook on the forge."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated
from urllib.parse import urlsplit

import typer

from deployd.cli.bitbucket_hooks import BitbucketHooks
from deployd.cli.command import Commands
from deployd.cli.gitea_hooks import GiteaHooks
from deployd.cli.github_hooks import GitHubHooks
from deployd.cli.gitlab_hooks import GitLabHooks
from deployd.cli.local import ConfigPath
from deployd.cli.output import AppName, AsJson, out
from deployd.config.daemon import Config
from deployd.config.file import default_path, load
from deployd.config.values import read_secret
from deployd.errors import ConfigError, RequestRefused
from deployd.forges.bitbucket import Bitbucket
from deployd.forges.configured import Section, sections
from deployd.forges.forge import Forge
from deployd.forges.gitea import Gitea
from deployd.forges.github import GitHub
from deployd.forges.gitlab import GitLab

app = Commands(no_args_is_help=True, help="The webhook on the forge.", rich_markup_mode=None)

Hooks = GitHubHooks | GitLabHooks | GiteaHooks | BitbucketHooks

_HOOKS: Mapping[type[Forge], type[Hooks]] = {
    GitHub: GitHubHooks,
    GitLab: GitLabHooks,
    Gitea: GiteaHooks,
    Bitbucket: BitbucketHooks,
}


@dataclass(frozen=True, slots=True)
class _Place:
    """The repository of an app (`host/path`), the forge that it is on, and the forge's section of the config.

    `proves`: an app of this repository proves the pull requests of GitHub.
    """

    repository: str
    forge: type[Forge]
    section: Section
    proves: bool

    @property
    def title(self) -> str:
        """The forge's name as people write it."""
        return self.forge.__name__

    @property
    def hooks(self) -> type[Hooks]:
        """The webhooks on this forge."""
        return _HOOKS[self.forge]

    def url(self, config: Config) -> str:
        """Where the forge is to send its deliveries."""
        if not config.server.base_url:
            raise ConfigError(
                f"server.base_url: {self.title} needs the address of deployd",
                hint="set base_url in [server] to the public address of deployd; behind NAT, deployd needs no webhook",
            )
        return config.server.base_url.rstrip("/") + self.forge.paths[0]

    def open(self, token: str) -> Hooks:
        """The webhooks of the repository."""
        path = self.repository.partition("/")[2]
        below = urlsplit(self.section.api_url).path.partition("/api/")[0].strip("/")  # a server may be below a path
        path = path.removeprefix(f"{below}/") if below else path
        hooks = self.hooks(self.section.api_url, read_secret(token, f"{self.forge.name}.token"), path)
        if isinstance(hooks, GitHubHooks) and self.proves:
            hooks.events.append("pull_request")
        return hooks


@app.command(epilog="Example: deployd hook install iris")
def install(app: AppName, config: ConfigPath = None) -> None:
    """Make an app's webhook on its forge, or bring it up to date. Without a token, print the fields of its form."""
    settings = load(config or default_path())
    place = _place(settings, app)
    name, section = place.forge.name, place.section
    if section.token is None:
        _say_fields(settings, place)
        return
    if not section.secrets:
        raise ConfigError(f"{name}.secrets: a webhook needs a secret", hint='secrets = ["env:DEPLOYD_WEBHOOK_SECRET"]')
    with place.open(section.token) as hooks:
        number, new = hooks.install(place.url(settings), read_secret(section.secrets[0], f"{name}.secrets[0]"))
    said = f"webhook {number} of {place.repository} {'is new' if new else 'is up to date'}: {place.url(settings)}"
    out().print(said, soft_wrap=True)


@app.command(epilog="Example: deployd hook redeliver iris")
def redeliver(
    app: AppName,
    config: ConfigPath = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask GitHub again for the deliveries that never succeeded."""
    settings = load(config or default_path())
    place = _place(settings, app)
    if place.forge is not GitHub:
        hint = f"{place.title} shows what it sent on the webhook's page, and can send it again from there"
        raise RequestRefused(
            409, f"{place.repository} is on {place.title}; this command works only with GitHub", hint=hint
        )
    if place.section.token is None:
        raise ConfigError("github.token: this needs a token for GitHub", hint='token = "env:GITHUB_TOKEN" in [github]')
    with place.open(place.section.token) as hooks:
        assert isinstance(hooks, GitHubHooks)  # noqa: S101 - for the type
        lost = hooks.lost(place.url(settings))
        for delivery in lost:
            if not as_json:
                out().print(f"{delivery.guid} {delivery.event} {delivery.delivered_at} {delivery.status}")
            if not dry:
                hooks.redeliver(delivery)
    if as_json:
        print(json.dumps({"deliveries": [asdict(delivery) for delivery in lost]}, indent=2))
        return
    count = f"{len(lost)} {'delivery' if len(lost) == 1 else 'deliveries'} never succeeded"
    out().print(count if dry or not lost else f"{count}; GitHub was asked to send them again")


def _place(config: Config, name: str) -> _Place:
    app = config.find(name)
    if app is None:
        known = ", ".join(one.name for one in config.app) or "none"
        raise RequestRefused(404, f"there is no app {name} in the config", hint=f"configured apps: {known}")
    if app.webhook_name is None:
        hint = f'set webhook = "HOST/OWNER/NAME" in the app {name}: what the forge calls the repository'
        raise RequestRefused(409, f"the repository of {name} is {app.repo}, which is not on a forge", hint=hint)
    host, known_hosts = app.webhook_name.partition("/")[0], []
    for forge in _HOOKS:
        section = sections(config)[forge.name]
        known_hosts.append(_host(section.api_url))
        if host == known_hosts[-1]:
            proves = any(one.prove_pull_requests for one in config.app if one.webhook_name == app.webhook_name)
            return _Place(app.webhook_name, forge, section, proves)
    raise RequestRefused(
        409,
        f"{app.webhook_name} is on none of the forges of the config: {', '.join(known_hosts)}",
        hint=f'set api_url in the section of its forge, such as "https://{host}/api/v4" in [gitlab]',
    )


def _host(api_url: str) -> str:
    """The host of the repositories, for one of the API: without the `api.` that the clouds have in front."""
    return (urlsplit(api_url).hostname or "").removeprefix("api.")


def _say_fields(config: Config, place: _Place) -> None:
    name, section = place.forge.name, place.section
    secret = (
        f"the value of {section.secrets[0]}"
        if section.secrets
        else f"a long random text; name it in [{name}] secrets too"
    )
    base, path = config.server.base_url.rstrip("/"), place.forge.paths[0]
    url = base + path if base else f"deployd's public address (none is set: base_url in [server]), then {path}"
    fields = dict(place.hooks.form(url, secret))
    if place.forge is GitHub and place.proves:
        fields["Which events"] = "Let me select individual events: Pull requests, Pushes"
    out().print(
        f"There is no [{name}] token: fill in the form of {place.repository}, {place.hooks.page}",
        style="bold",
        soft_wrap=True,
    )
    width = max(map(len, fields))
    for field, value in fields.items():
        out().print(f"  {field:<{width}} {value}", soft_wrap=True)
