"""The endpoints for operators: health, readiness, metrics, badges, reload and backup."""

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from deployd.api.answers import (
    AliveAnswer,
    NotifiedAnswer,
    NotifyTestAnswer,
    PruneAnswer,
    PrunedAnswer,
    ReloadAnswer,
    VersionAnswer,
)
from deployd.api.asked import PruneAsked
from deployd.api.auth import DEPLOYS, READS, RULES
from deployd.api.badge import badge
from deployd.api.readiness import WARNING, is_well
from deployd.api.scrape import scrape
from deployd.api.services import Given
from deployd.api.streams import Stream, Write
from deployd.errors import RequestRefused, Unavailable
from deployd.http.problems import PROBLEMS
from deployd.order.repository import Trouble
from deployd.reporters.message import Message
from deployd.wording import counted

router = APIRouter(responses=PROBLEMS)

_BLOCK = 256 * 1024
_LATE = timedelta(minutes=1)
_COPY = ".backup-"  # a prefix that no operator uses for their own backups


def sweep_backups(state_dir: Path) -> None:
    """Remove the copies that a killed daemon left. Call it at start, before anybody can ask for a backup."""
    for left in state_dir.glob(f"{_COPY}*"):
        shutil.rmtree(left, ignore_errors=True)


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> AliveAnswer:
    """The process answers."""
    return AliveAnswer()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def readyz(services: Given) -> Response:
    """The state of every part that deploys need: `ok` or what is wrong; 503 when one is unavailable.

    An unavailable git remote and a live release that does not serve are only warnings: they concern only their own apps, and
    webhooks must still be accepted.
    """
    parts = dict(await services.readiness.parts(services.config, services.store, services.targets))
    parts |= _unseen(services.scheduler.looks.troubled())
    if broken := [f"{name} ({health.detail})" for name, health in sorted(services.scheduler.lanes.unhealthy().items())]:
        parts["apps"] = f"{WARNING}unhealthy: {'; '.join(broken)}"
    if late := await _late(services):
        parts["reports"] = f"{WARNING}{late}"
    return JSONResponse(parts, 200 if is_well(parts) else 503, {"Cache-Control": "no-store"})


def _unseen(troubled: Mapping[str, Trouble]) -> dict[str, str]:
    """The parts that cannot be looked at: the remotes and the registries, each with its apps and since when."""
    found: dict[str, dict[str, list[str]]] = {}
    for app, trouble in sorted(troubled.items()):
        part = "git" if trouble.what == "remote" else "registry"
        found.setdefault(part, {}).setdefault(f"{trouble.since:%Y-%m-%d %H:%M:%S} UTC", []).append(app)
    what = {"git": "the remote", "registry": "the model registry"}
    return {
        part: f"{WARNING}no look at {what[part]} of "
        + "; of ".join(f"{', '.join(apps)} since {since}" for since, apps in its.items())
        + "; see deployd status"
        for part, its in found.items()
    }


async def _late(services: Given) -> str:
    """The reports that have waited for too long; empty when there are none."""
    try:
        unsent = await services.reporting.unsent()
    except Unavailable:
        return ""  # the part `store` says so
    late = [
        f"{counted(one.count, 'report')} to {one.reporter} since {one.since:%Y-%m-%d %H:%M:%S} UTC"
        + (f": {why}" if why else "")
        for one, why in unsent
        if datetime.now(UTC) - one.since > _LATE
    ]
    return f"not told yet: {'; '.join(late)}" if late else ""


@router.get("/metrics", response_class=Response, dependencies=[READS])
async def metrics(services: Given) -> Response:
    """The metrics, for Prometheus."""
    return Response(await scrape(services), media_type=CONTENT_TYPE_LATEST)


@router.get("/apps/{app}/badge.svg", response_class=Response, dependencies=[READS])
async def app_badge(app: str, services: Given) -> Response:
    """The app's state as a picture."""
    if services.config.find(app) is None:
        raise RequestRefused(404, f"there is no app {app}")
    newest, state = await services.store.newest_to_serve(app), await services.store.state(app)
    health = services.scheduler.lanes.health(app, state.live.number) if state.live is not None else None
    picture = badge(app, state, newest, health)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(picture, media_type="image/svg+xml", headers=headers)


@router.post("/api/v1/reload", dependencies=[RULES])
async def reload(services: Given) -> ReloadAnswer:
    """Read the config file again; a wrong one is refused and the old config stays."""
    needs_restart = await services.reload()
    names = [app.name for app in services.config.app]
    older = [state.app for state in await services.store.states(names) if services.scheduler.older_config(state)]
    restarting = [app.name for app in services.config.app if app.name in older and app.on_config_change == "restart"]
    return ReloadAnswer(
        apps=names,
        needs_restart=list(needs_restart),
        older_config=[name for name in older if name not in restarting],
        restarting=restarting,
    )


@router.post("/api/v1/prune", dependencies=[DEPLOYS])
async def prune(services: Given, asked: PruneAsked | None = None) -> PruneAnswer:
    """Remove the images and logs beyond `[retention]` and trim the build cache now, as after each deploy."""
    asked = asked or PruneAsked()
    found = await services.scheduler.prune(asked.app, dry_run=asked.dry_run)
    return PruneAnswer(dry_run=asked.dry_run, pruned=[PrunedAnswer.model_validate(each) for each in found])


@router.post("/api/v1/notify/test", dependencies=[RULES])
async def notify_test(services: Given) -> NotifyTestAnswer:
    """Send a message to every URL of [notify] now, and say what became of it."""
    where = services.config.server.base_url or f"the instance {services.config.server.identity}"
    message = Message("deployd can reach you", f"This is the test of {where}. Somebody ran `deployd notify test`.")
    tried = await services.reporting.test(message)
    return NotifyTestAnswer(sent=[NotifiedAnswer(url=url, trouble=trouble) for url, trouble in tried.items()])


@router.get("/api/v1/backup", response_class=Response, dependencies=[RULES])
async def backup(services: Given) -> Response:
    """A consistent copy of the whole state, as one SQLite file."""

    async def produce(write: Write) -> None:
        with tempfile.TemporaryDirectory(dir=services.config.server.state_dir, prefix=_COPY) as directory:
            copy = Path(directory) / "deployd.db"
            await services.store.backup(copy)
            with copy.open("rb") as file:
                while block := file.read(_BLOCK):
                    await write(block)

    return Stream(services, produce, "application/vnd.sqlite3")


@router.get("/", dependencies=[READS])
async def index() -> VersionAnswer:
    """The version, and the addresses to start from."""
    return VersionAnswer(version=importlib.metadata.version("deployd"))
