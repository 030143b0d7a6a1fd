"""The daemon as one object, made from its config (adapters -> scheduler -> HTTP servers) and closed in reverse order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.aftermath import Aftermath
from deployd.api.app import create_app
from deployd.api.auth import peer_of
from deployd.api.doors import Doors
from deployd.api.not_kept import NotKeptList
from deployd.api.ops import sweep_backups
from deployd.api.scrape import expect as expect_series
from deployd.api.services import Services
from deployd.builders.engine import EngineBuilder
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.file import load
from deployd.config.running import Running, taken_up
from deployd.errors import ConfigError
from deployd.events import Events
from deployd.forges.configured import forges, secrets_of
from deployd.gates.files import ImageReader
from deployd.gateway.sampling import SOCKET
from deployd.http.server import Server
from deployd.logs.logs import Logs
from deployd.metrics import DELIVERIES
from deployd.mlflow.models import MlflowModels
from deployd.passage import Parts
from deployd.pipeline import Pipeline
from deployd.ports.builder import Builder
from deployd.ports.target import Target
from deployd.proofs import Gates
from deployd.recording.recordings import Recordings
from deployd.reporters.github_checks import GitHubChecks
from deployd.reporters.reporting import Reporting
from deployd.sampler import Sampler
from deployd.scheduler import Scheduler
from deployd.source.source import GitSource
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.targets.docker.target import DockerTarget
from deployd.watch.stage import Watch

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Daemon:
    """The running daemon: its HTTP servers, `local` for the Unix socket, and everything behind them."""

    config_path: Path
    services: Services
    webhooks: Doors
    server: Server
    local: Server
    docker: DockerTarget
    reporting: Reporting

    async def serve(self) -> None:
        """Run the scheduler and sample the traffic, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.services.scheduler.serve())
            tasks.create_task(self.services.sampler.serve())

    async def reload(self) -> Sequence[str]:
        """Read the config file again and use it; returns the changed keys that need a restart.

        Raises ConfigError when the file is broken, or somebody refuses the config; then the old one stays.
        """
        config, needs_restart = taken_up(self.services.running.config, await asyncio.to_thread(load, self.config_path))
        if missing := {app.target for app in config.app} - self.services.targets.keys():
            raise ConfigError(f"the first app with target = {missing.pop()} needs a restart", hint="restart deployd")
        self.services.running.replace(config)
        for key in needs_restart:
            logger.warning("%s has changed: that takes effect at the next restart", key)
        logger.info("Reloaded %s", self.config_path)
        return needs_restart

    def stop_taking(self) -> None:
        """Accept no more connections and end the streams. Requests in flight finish, so a delivery is still stored."""
        self.services.stopping.set()
        self.server.stop()
        self.local.stop()


@asynccontextmanager
async def assemble(config: Config, config_path: Path) -> AsyncIterator[Daemon]:
    """Open everything that `config` needs, and close it in reverse order."""
    secrets = webhook_secrets(config)
    sweep_backups(config.server.state_dir)
    async with AsyncExitStack() as stack:
        opened = await _open(config, secrets, stack)
        running, store, events, logs = opened.running, opened.store, opened.events, opened.logs
        scheduler = _scheduler(opened)
        not_kept = NotKeptList(lambda scope: peer_of(scope, running.config))
        webhooks = Doors(
            secrets=secrets,
            accept=scheduler.accept,
            deliveries=DELIVERIES,
            propose=scheduler.propose,
            apps=config.app,
            max_body=config.server.max_body,
            not_kept=not_kept,
        )
        reporting = Reporting(running, store, events, logs)
        await reporting.begin()
        _listen(opened, webhooks, reporting)
        sampler = Sampler(running, store, opened.docker.counted)

        async def reload() -> Sequence[str]:
            return await daemon.reload()

        services = Services(
            running=running,
            scheduler=scheduler,
            store=store,
            events=events,
            logs=logs,
            targets=opened.targets,
            sampler=sampler,
            reporting=reporting,
            reload=reload,
            not_kept=not_kept,
        )
        servers = _servers(config, services, webhooks)
        daemon = Daemon(config_path, services, webhooks, *servers, opened.docker, reporting)
        yield daemon


@dataclass(frozen=True, slots=True)
class _Opened:
    """The parts that the scheduler needs and that have to be closed."""

    running: Running
    events: Events
    store: Store
    logs: Logs
    source: GitSource
    docker: DockerTarget
    targets: Mapping[str, Target]
    gates: Gates
    models: MlflowModels
    checks: GitHubChecks


async def _open(config: Config, secrets: Mapping[str, Sequence[str]], stack: AsyncExitStack) -> _Opened:
    state, running, events = config.server.state_dir, Running(config), Events()
    store = Store(await stack.enter_async_context(Database(state / "deployd.db")), events)
    logs = Logs(state / "logs", _all(secrets))
    source = await stack.enter_async_context(GitSource(config.git, state / "git"))
    docker = await stack.enter_async_context(
        DockerTarget(config.server.identity, config.gateway, state / "gateway", store)
    )
    targets, readers, expecting = await _targets(config, docker, stack)
    recordings = Recordings(state / "recorded", state / "gateway" / "config" / SOCKET)
    stack.callback(recordings.close)

    def expect(new: Config) -> None:
        for tell in (*expecting, recordings.expect, expect_series):
            tell(new.app)

    expect(config)
    running.tell(expect)
    models, checks = MlflowModels(running, store, state / "models"), GitHubChecks(running, logs)
    stack.push_async_callback(models.close)
    stack.push_async_callback(checks.close)
    gates = Gates(store, source, readers, recordings)
    return _Opened(running, events, store, logs, source, docker, targets, gates, models, checks)


def _scheduler(opened: _Opened) -> Scheduler:
    config, store, source, targets = opened.running.config, opened.store, opened.source, opened.targets
    builder = _builder(config)
    parts = Parts(store, opened.logs, source, builder, targets, opened.gates, opened.models)
    registry = config.registry.prefix if config.registry else None
    pipeline = Pipeline(parts, instance=config.server.identity, builder=config.builder, registry=registry)
    watch = Watch(targets, source, opened.gates)
    aftermath = Aftermath(store, opened.logs, targets, builder, config.builder.cache_bytes, watch)
    return Scheduler(
        running=opened.running,
        store=store,
        source=source,
        pipeline=pipeline,
        aftermath=aftermath,
        targets=targets,
        checks=opened.checks,
        models=opened.models,
    )


def _listen(opened: _Opened, webhooks: Doors, reporting: Reporting) -> None:
    """Have those who act on a new config told of it, in this order. Before them come the targets and the recordings, which listen
    as they are opened; after them the lanes and the looks, which listen as they begin to serve."""

    def trust(secrets: Mapping[str, Sequence[str]]) -> None:
        opened.logs.hide(_all(secrets))
        webhooks.trust(secrets)

    opened.running.tell_prepared(webhook_secrets, trust)
    opened.running.tell(lambda config: webhooks.follow(config.app))
    opened.running.tell_prepared(reporting.prepare, reporting.use)
    opened.running.tell(lambda _: opened.events.publish("config", "", None, {}))


def webhook_secrets(config: Config) -> Mapping[str, Sequence[str]]:
    """The secrets that the deliveries of each forge may be signed with. Without any, commits are found only by polling.
    ConfigError when one of them cannot be read or used."""
    secrets = secrets_of(config)
    forges(secrets)
    if not _all(secrets):
        logger.warning("No secrets of any forge: webhooks are refused, commits are found only by polling")
    return secrets


def _all(secrets: Mapping[str, Sequence[str]]) -> list[str]:
    return [secret for its in secrets.values() for secret in its]


def _servers(config: Config, services: Services, webhooks: Doors) -> tuple[Server, Server]:
    """The server for TCP, and the one for the Unix socket, which needs no TLS."""
    tls, within = config.server.tls, config.server.stop_timeout
    files: dict[str, Any] = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)} if tls else {}
    app = create_app(services, webhooks.by_path)
    return Server(app, stop_within=within, **files), Server(app, stop_within=within)


async def _targets(
    config: Config, docker: DockerTarget, stack: AsyncExitStack
) -> tuple[Mapping[str, Target], Mapping[str, ImageReader], Sequence[Callable[[Iterable[App]], None]]]:
    """The targets of the apps, the readers of files in their images, and who is to know the configured apps.

    The Kubernetes client is large, so it is imported only when an app needs it. When no app runs on Docker, as in a pod, no
    engine is needed.
    """
    targets: dict[str, Target] = {}
    readers: dict[str, ImageReader] = {"docker": docker.read}
    expecting: list[Callable[[Iterable[App]], None]] = [docker.expect]
    used = {app.target for app in config.app}
    if "docker" in used or not used:
        targets["docker"] = docker
    if "kubernetes" in used:
        from deployd.targets.kubernetes.target import KubernetesTarget  # noqa: PLC0415 - see above

        kubernetes = KubernetesTarget(config, config.server.state_dir / "kubernetes")
        targets["kubernetes"] = await stack.enter_async_context(kubernetes)
        readers["kubernetes"] = kubernetes.read
        expecting.append(kubernetes.expect)
    return targets, readers, expecting


def _builder(config: Config) -> Builder:
    state = config.server.state_dir
    if config.builder.kind == "buildkit":
        from deployd.builders.buildkit import BuildkitBuilder  # noqa: PLC0415 - one of two

        return BuildkitBuilder(config.builder, state, config.registry)
    return EngineBuilder(config.builder, state, config.registry)
