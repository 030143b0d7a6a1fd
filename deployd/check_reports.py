"""The part of `deployd check` about what is told outside: GitHub and [notify]. Nothing is sent."""

from collections.abc import Iterator

from deployd.config.daemon import Config
from deployd.config.values import read_secret
from deployd.errors import ConfigError
from deployd.finding import Finding
from deployd.reporters.github import repository_on_github
from deployd.reporters.github_api import Wire
from deployd.reporters.github_app import AppTokens
from deployd.reporters.notify import Service, in_own_thread

_URLS = "docs/notifications.md shows the URLs of some services"


async def reported(config: Config) -> list[Finding]:
    """What is told of [github] report and of [notify]; a secret that cannot be read is told elsewhere."""
    return [*_github(config), *await _notify(config)]


def _github(config: Config) -> Iterator[Finding]:
    if config.github.report == "off":
        return
    if (app := config.github.app) is not None:
        try:
            AppTokens(Wire(config.github.api_url), app.id, read_secret(app.key, "github.app.key"), app.installation, {})
        except ConfigError as exc:
            yield Finding.fault("github", exc)
            return
    found = {one.name: repository_on_github(config, one) for one in config.app}
    shown = ", ".join(f"{name} ({repository})" for name, repository in found.items() if repository)
    if shown:
        yield Finding("github", "ok", f"shows as {config.github.report}: {shown}")
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
