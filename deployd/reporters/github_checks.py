"""Whether the checks and the statuses of a commit on GitHub are green. They are two systems, and both are asked.

They are asked for by the commit that is to be deployed, never taken from an event: the branch that the event of a check names may
be one of a fork.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.errors import DeploydError
from deployd.logs.log import printable
from deployd.logs.logs import Logs
from deployd.reporters.github import repository_on_github
from deployd.reporters.github_api import GitHubApi
from deployd.reporters.github_login import log_in
from deployd.tasks import raise_if_cancelled

_OURS = "deployd/"  # what deployd itself says of a commit waits for the deploy
_GREEN = frozenset({"success", "neutral", "skipped"})
_WORDS = {
    "cancelled": "was cancelled",
    "timed_out": "timed out",
    "action_required": "waits for somebody",
    "stale": "is stale",
    "startup_failure": "could not start",
}
RIGHTS = {"checks": "read", "statuses": "read"}
_PAGE = 100
_MOST_PAGES = 10  # GitHub keeps a thousand of each
_MOST_NAMED = 3


class CheckRun(Struct):
    """The fields that are read of a check run. `conclusion` is None until it is completed."""

    name: str
    status: str
    conclusion: str | None = None


class CommitStatus(Struct):
    """The fields that are read of a commit's status, the newest of its context."""

    context: str
    state: str


class _Runs(Struct):
    check_runs: list[CheckRun]


class _Statuses(Struct):
    statuses: list[CommitStatus]


class GitHubChecks:
    """Implements Checks. A reload has the token read anew."""

    def __init__(self, running: Running, logs: Logs) -> None:
        self._running = running
        self._logs = logs
        self._api: tuple[Config, GitHubApi] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._api is not None:
            await self._api[1].close()
            self._api = None

    async def why_not_green(self, app: App, commit: str) -> str:
        """See Checks. Checks that cannot be asked for do not count as green: the head waits."""
        config = self._running.config
        repository = repository_on_github(config, app)
        if repository is None:
            return f"{app.webhook_name} is not on the GitHub of {config.github.api_url}"
        try:
            return await asked_of(await self._of(config), repository, commit, app.checks.names)
        except DeploydError as exc:
            raise_if_cancelled()
            return exc.message

    async def _of(self, config: Config) -> GitHubApi:
        """The API, as this config has it."""
        if self._api is None or self._api[0] is not config:
            await self.close()
            self._api = config, log_in(config.github, self._logs.hide, RIGHTS)
        return self._api[1]


async def asked_of(api: GitHubApi, repository: str, ref: str, names: Collection[str]) -> str:
    """The reason why a ref's commit is not green; empty when it is. Raises Later, Refused or Unavailable."""
    return why_not_green(await _runs(api, repository, ref), await _statuses(api, repository, ref), names)


async def _runs(api: GitHubApi, repository: str, commit: str) -> list[CheckRun]:
    found: list[CheckRun] = []
    for page in range(1, _MOST_PAGES + 1):
        asked = {"filter": "latest", "per_page": str(_PAGE), "page": str(page)}
        answer = await api.ask(_Runs, "GET", repository, f"/commits/{commit}/check-runs", asked=asked)
        found += answer.check_runs
        if len(answer.check_runs) < _PAGE:
            break
    return found


async def _statuses(api: GitHubApi, repository: str, commit: str) -> list[CommitStatus]:
    found: list[CommitStatus] = []
    for page in range(1, _MOST_PAGES + 1):
        asked = {"per_page": str(_PAGE), "page": str(page)}
        answer = await api.ask(_Statuses, "GET", repository, f"/commits/{commit}/status", asked=asked)
        found += answer.statuses
        if len(answer.statuses) < _PAGE:
            break
    return found


def why_not_green(runs: Sequence[CheckRun], statuses: Sequence[CommitStatus], names: Collection[str]) -> str:
    """The checks that are not green, failed ones first; empty when all are green, there is at least one, and all of `names`
    exist."""
    runs = [run for run in runs if not run.name.startswith(_OURS)]
    statuses = [status for status in statuses if not status.context.startswith(_OURS)]
    red = [*_failed(runs), *(f"{one.context} failed" for one in statuses if one.state in {"failure", "error"})]
    if red:
        return _listed(red)
    under_way = [run.name for run in runs if run.status != "completed"]
    under_way += [one.context for one in statuses if one.state not in {"success", "failure", "error"}]
    if under_way:
        return _listed([f"{name} is not finished" for name in under_way])
    there = {run.name for run in runs} | {one.context for one in statuses}
    if missing := [name for name in names if name not in there]:
        return _listed([f"{name} has not reported" for name in missing])
    return "" if there else "no check has reported"


def _failed(runs: Sequence[CheckRun]) -> Iterator[str]:
    for run in runs:
        if run.status == "completed" and run.conclusion not in _GREEN:
            yield f"{run.name} {_WORDS.get(run.conclusion or '', 'failed')}"


def _listed(said: Sequence[str]) -> str:
    more = len(said) - _MOST_NAMED
    return printable(", ".join(said[:_MOST_NAMED]), 300) + (f", and {more} more" if more > 0 else "")
