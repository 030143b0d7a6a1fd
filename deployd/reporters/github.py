"""Shows each deploy on GitHub: as a deployment with its statuses, or as a status of the commit; a proof as a check of the commit.

What is sent is the state that the deploy has now. Before anything is created a second time, GitHub is asked whether it is there.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.running import Running
from deployd.config.urls import public_urls
from deployd.domain import Deploy
from deployd.reporters.checks import check_of, run_of
from deployd.reporters.github_api import GitHubApi
from deployd.reporters.reporter import Told
from deployd.reporters.words import COMMIT_STATES, CONCLUSIONS, DEPLOYMENT_STATES, cut, description
from deployd.status import Status
from deployd.store.outbox import Check, Report
from deployd.store.store import Store

NAME = "github"

_STATUSES = frozenset(Status) - {Status.CHECKING, Status.ROLLING_OUT}  # GitHub has no word for these
_PATIENCE_SECONDS = 3 * 86400.0


class _Deployment(Struct):
    id: int
    payload: Any = None


class _State(Struct):
    state: str
    description: str | None = None
    context: str = ""


class _Run(Struct):
    id: int
    external_id: str | None = None


class _Runs(Struct):
    check_runs: list[_Run]


class GitHubReporter:
    """Implements Reporter. `checks`: the token is a GitHub App's, which alone may create check runs."""

    name = NAME
    patience = _PATIENCE_SECONDS

    def __init__(
        self, running: Running, store: Store, api: GitHubApi, how: Literal["deployments", "statuses"], *, checks: bool
    ) -> None:
        self._running = running
        self._store = store
        self._api = api
        self._how = how
        self._checks = checks

    @property
    def statuses(self) -> Collection[Status]:
        """See Reporter."""
        return _STATUSES

    async def close(self) -> None:
        """See Reporter."""
        await self._api.close()

    async def tell(self, report: Report) -> Told:
        """See Reporter."""
        app = self._running.app(report.app)
        repository, known = _address(report)  # of what was told before, also when its app has left the config
        if app is not None:
            repository = repository_on_github(self._running.config, app) or repository
        if repository is None:
            return Told()
        if report.check is not None:
            return await self._check(repository, known, report, report.check)
        assert report.number is not None  # noqa: S101 - it has no check
        deploy = await self._store.deploy(report.app, report.number)
        if deploy is None:
            return Told()
        if deploy.prove:
            return await self._proof(repository, known, report, deploy)
        if self._how == "statuses":
            return await self._status(repository, report, deploy)
        return await self._deployment(repository, known, app, report, deploy)

    async def _deployment(self, repository: str, number: str, app: App | None, report: Report, deploy: Deploy) -> Told:
        state, said = DEPLOYMENT_STATES.get(deploy.status), description(deploy)
        if state is None or report.said == f"{state} {said}" or _waits_again(report, deploy):
            return Told()
        if not number:
            found = await self._deployment_of(repository, app, report, deploy) if app is not None else None
            if found is None:
                return Told()
            number = str(found)
            await self._store.record_remote(report, f"{repository}#{number}")
        body = {"state": state, "description": said, "auto_inactive": False, **self._links(app, deploy)}
        path = f"/deployments/{number}/statuses"
        if not (report.tries and await self._says(repository, path, state, said)):
            await self._api.ask(_State, "POST", repository, path, body)
        return Told(f"{repository}#{number}", f"{state} {said}")

    async def _deployment_of(self, repository: str, app: App, report: Report, deploy: Deploy) -> int | None:
        """The number of the deployment for a deploy, created if it is missing. None where none is needed."""
        environment = app.github.environment or app.name
        mark = {"instance": self._running.config.server.identity, "app": deploy.app, "number": deploy.number}
        if report.remote is not None:
            asked = {"sha": deploy.commit, "environment": environment, "per_page": "100"}
            for known in await self._api.ask(list[_Deployment], "GET", repository, "/deployments", asked=asked):
                if isinstance(known.payload, dict) and known.payload.get("deployd") == mark:
                    return known.id
        if _never_begun(deploy):
            return None
        body = {
            "ref": deploy.commit,
            "task": "deploy",
            "auto_merge": False,
            "required_contexts": [],
            "environment": environment,
            "production_environment": app.github.production,
            "transient_environment": False,
            "description": cut(f"{deploy.name}: {deploy.subject}" if deploy.subject else deploy.name),
            "payload": {"deployd": mark},
        }
        made = await self._api.ask(_Deployment, "POST", repository, "/deployments", body)
        return made.id

    async def _says(self, repository: str, path: str, state: str, said: str) -> bool:
        """Whether the newest status on GitHub is the one to send: then it had arrived, and only the answer was lost."""
        found = await self._api.ask(list[_State], "GET", repository, path, asked={"per_page": "1"})
        return [(one.state, one.description) for one in found] == [(state, said)]

    async def _status(self, repository: str, report: Report, deploy: Deploy) -> Told:
        """Set the commit's status, which only its newest deploy does."""
        newest = await self._store.latest_of(deploy.app, deploy.commit)
        if newest is not None and newest.number != deploy.number:
            return Told()
        if report.remote is None and _never_begun(deploy):
            return Told()
        return await self._commit_status(repository, report, deploy, f"deployd/{deploy.app}")

    async def _commit_status(self, repository: str, report: Report, deploy: Deploy, context: str) -> Told:
        state, said = COMMIT_STATES[deploy.status], description(deploy)
        same = report.said == f"{state} {said}" or _waits_again(report, deploy)
        if same or (deploy.status is Status.RETIRED and report.said.startswith("success ")):
            return Told()
        if report.tries and await self._stands(repository, deploy.commit, context, state, said):
            return Told(f"{repository}#", f"{state} {said}")
        body = {"state": state, "context": context, "description": said}
        if (page := self._page(deploy)) is not None:
            body["target_url"] = page
        await self._api.ask(_State, "POST", repository, f"/statuses/{deploy.commit}", body)
        return Told(f"{repository}#", f"{state} {said}")

    async def _stands(self, repository: str, commit: str, context: str, state: str, said: str) -> bool:
        asked = {"per_page": "100"}
        found = await self._api.ask(list[_State], "GET", repository, f"/commits/{commit}/statuses", asked=asked)
        newest = [(one.state, one.description) for one in found if one.context == context][:1]
        return newest == [(state, said)]

    async def _proof(self, repository: str, known: str, report: Report, deploy: Deploy) -> Told:
        """A check of the commit with the gates' report; a commit status where there is no App."""
        if report.remote is None and _never_begun(deploy):
            return Told()
        if not self._checks:
            return await self._commit_status(repository, report, deploy, f"deployd/{deploy.app}/prove")
        external_id = f"{self._running.config.server.identity}/{deploy.name}"
        check = check_of(deploy, CONCLUSIONS.get(deploy.status, ""), external_id, self._page(deploy) or "")
        return await self._check(repository, known, report, check)

    async def _check(self, repository: str, number: str, report: Report, check: Check) -> Told:
        if not self._checks:
            return Told()  # GitHub lets only an App do it
        run = run_of(check)
        if not number and report.remote is not None:
            number = await self._run_there(repository, check)
        if number:
            await self._api.ask(_Run, "PATCH", repository, f"/check-runs/{number}", run)
        else:
            made = await self._api.ask(_Run, "POST", repository, "/check-runs", run | {"head_sha": check.commit})
            number = str(made.id)
        return Told(f"{repository}#{number}", check.conclusion or check.title)

    async def _run_there(self, repository: str, check: Check) -> str:
        """The number of the check run that exists for a check; empty when there is none."""
        asked = {"check_name": check.name, "filter": "all", "per_page": "100"}
        found = await self._api.ask(_Runs, "GET", repository, f"/commits/{check.commit}/check-runs", asked=asked)
        return next((str(run.id) for run in found.check_runs if run.external_id == check.external_id), "")

    def _links(self, app: App | None, deploy: Deploy) -> Mapping[str, str]:
        links = {}
        if (page := self._page(deploy)) is not None:
            links["log_url"] = page
        if app is not None and deploy.status is Status.LIVE:
            urls = [url for url in public_urls(self._running.config, app) if _is_public(url)]
            links |= {"environment_url": urls[-1]} if urls else {}
        return links

    def _page(self, deploy: Deploy) -> str | None:
        """The page of the deploy; None while deployd has no public address."""
        base = self._running.config.server.base_url
        return f"{base.rstrip('/')}/apps/{deploy.app}/deploys/{deploy.number}" if base else None


def repository_on_github(config: Config, app: App) -> str | None:
    """`owner/name` of an app's repository, where the configured GitHub has it."""
    host, _, path = (app.webhook_name or "").partition("/")
    return path if host == config.github.host and path.count("/") == 1 else None


def _address(report: Report) -> tuple[str | None, str]:
    """The address of an earlier report, if known: the repository, and the number of the deployment or check run."""
    repository, _, number = (report.remote or "").rpartition("#")
    return repository or None, number


def _waits_again(report: Report, deploy: Deploy) -> bool:
    """Whether the deploy is queued again after it had begun, since something is away. That can repeat for hours, and GitHub takes
    only a thousand statuses of a commit."""
    return deploy.status is Status.QUEUED and report.said.startswith(("in_progress ", "pending "))


def _never_begun(deploy: Deploy) -> bool:
    """Whether the deploy ended while it was queued. That is reported only if its waiting was: a flood of pushes has many such
    deploys."""
    return deploy.status.ended and deploy.started_at is None


def _is_public(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host != "localhost" and not host.startswith("127.") and host != "::1"
