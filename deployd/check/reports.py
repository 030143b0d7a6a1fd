"""The part of `deployd check` about what is told outside and asked there: GitHub is only asked, and [notify] sends nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from deployd.check.finding import Finding
from deployd.config.daemon import Config
from deployd.config.values import read_secret
from deployd.errors import ConfigError, DeploydError
from deployd.reporters.github import repository_on_github
from deployd.reporters.github_api import GitHubApi
from deployd.reporters.github_checks import RIGHTS, asked_of
from deployd.reporters.github_login import log_in
from deployd.reporters.notify import Service, in_own_thread

_URLS = "docs/notifications.md shows the URLs of some services"


async def reported(config: Config) -> list[Finding]:
    """What is told of [github] report, of required checks and of [notify]; a secret that cannot be read is told elsewhere."""
    return [*await _github(config), *await _required(config), *await _notify(config)]


async def _github(config: Config) -> list[Finding]:
    if config.github.report == "off":
        return []
    try:
        api = log_in(config.github)
    except ConfigError as exc:
        return [Finding.fault("github", exc)]
    repositories = {app.name: repository_on_github(config, app) for app in config.app}
    try:
        shown = [await _shown(api, config, name, found) for name, found in repositories.items() if found is not None]
    finally:
        await api.close()
    return [*shown, *_elsewhere(config, repositories)]


async def _shown(api: GitHubApi, config: Config, name: str, repository: str) -> Finding:
    """Whether the token or the App may see what it is to write."""
    path = "/deployments" if config.github.report == "deployments" else "/commits/HEAD/statuses"
    try:
        await api.ask(list[Any], "GET", repository, path, asked={"per_page": "1"})
    except DeploydError as exc:
        return Finding("github", "wrong", f"{name} cannot be shown: {exc.message}", exc.hint)
    return Finding("github", "ok", f"{name} is shown as {config.github.report} of {repository}")


async def _required(config: Config) -> list[Finding]:
    """Whether the checks that apps require can be asked for."""
    apps = [app for app in config.app if app.require == "checks"]
    if not apps:
        return []
    try:
        api = log_in(config.github, rights=RIGHTS)
    except ConfigError as exc:
        return [Finding.fault("checks", exc)]
    try:
        return [await _asked(api, app.name, repository_on_github(config, app) or "") for app in apps]
    finally:
        await api.close()


async def _asked(api: GitHubApi, name: str, repository: str) -> Finding:
    try:
        await asked_of(api, repository, "HEAD", ())
    except DeploydError as exc:
        return Finding(
            "checks", "wrong", f"the checks that {name} requires cannot be asked for: {exc.message}", exc.hint
        )
    return Finding(
        "checks", "ok", f"{name} is deployed when the checks and statuses of its commit in {repository} are green"
    )


def _elsewhere(config: Config, found: Mapping[str, str | None]) -> Iterator[Finding]:
    for name in (name for name, repository in found.items() if not repository):
        hint = f'where it is a mirror, set webhook = "{config.github.host}/OWNER/NAME" in the app'
        said = f"github.report: {name} is not shown, since its repository is not on {config.github.host}"
        yield Finding("github", "warning", said, hint)


async def _notify(config: Config) -> list[Finding]:
    found = []
    for at, reference in enumerate(config.notify.urls):
        key = f"notify.urls[{at}]"
        try:
            why = await in_own_thread(Service(read_secret(reference, key)).why_bad)
        except ConfigError:
            continue
        usable = f"{key}: Apprise can use it; `deployd notify test` sends a message"
        found.append(Finding("notify", "wrong", f"{key}: {why}", _URLS) if why else Finding("notify", "ok", usable))
    return found
