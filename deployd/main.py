"""Creates the daemon: config -> adapters -> scheduler -> HTTP server. Also stops it in the right order.

First the HTTP server and the deploys in flight stop (a cut-over finishes, other deploys go back to queued), then the adapters
close. After a time limit the process exits although something hangs. A task that crashes ends the whole daemon with an
error; systemd starts it again, and it recovers.
"""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
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
from deployd.engine.endpoint import settle
from deployd.errors import ConfigError, DeploydError
from deployd.events import Events
from deployd.forges.configured import secrets_of
from deployd.gates.files import ImageReader
from deployd.gateway.sampling import SOCKET
from deployd.host import systemd
from deployd.host.process import only_one, signals
from deployd.http.server import Server
from deployd.http.sockets import Sockets, sockets_of
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
from deployd.standing import standing
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.targets.docker.target import DockerTarget
from deployd.tracing import exporter
from deployd.tracing.tracing import Tracing
from deployd.watch.stage import Watch

logger = logging.getLogger(__name__)

# Extra time at the stop for a cut-over: HAProxy may take 20 s to start, a switch takes milliseconds.
_CUT_OVER_SECONDS = 30.0

# How long several events may take to come together in one line of `systemctl status`.
_SETTLED_SECONDS = 1.0
_HEALTH_SECONDS = 15.0


async def run(config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the config. Raises ConfigError when it cannot start."""
    config = load(config_path)
    settle()
    stop, hangup = asyncio.Event(), asyncio.Event()
    with only_one(config.server.state_dir), signals(stop, hangup):
        async with assemble(config, config_path) as daemon:
            with sockets_of(config.server) as sockets:
                await _serve(daemon, sockets, stop, hangup)
    logger.info("deployd has stopped")


async def _serve(daemon: "Daemon", sockets: Sockets, stop: asyncio.Event, hangup: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        web = [
            tasks.create_task(daemon.server.serve(sockets=sockets.public)),
            tasks.create_task(daemon.local.serve(sockets=sockets.local)),
        ]
        work = [
            tasks.create_task(daemon.serve()),
            tasks.create_task(daemon.reporting.serve()),
            tasks.create_task(_reload_on(hangup, daemon)),
            tasks.create_task(_feed_the_watchdog()),
            tasks.create_task(_tell_systemd(daemon.services)),
            tasks.create_task(_trace(daemon.services)),
        ]
        await daemon.server.listening.wait()
        await daemon.local.listening.wait()
        _settle()
        systemd.notify("READY=1")
        logger.info("deployd listens on %s", sockets)
        await stop.wait()
        systemd.notify("STOPPING=1")
        within = daemon.services.config.server.stop_timeout + _CUT_OVER_SECONDS
        asyncio.get_running_loop().call_later(within, _end_at_once)
        daemon.stop_taking()
        daemon.services.store.stop_waiting()
        for task in work:
            task.cancel()
        await asyncio.wait(web)


def _settle() -> None:
    """Exclude everything loaded so far from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


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

        Raises ConfigError when the file is broken; then the old config stays.
        """
        config, waiting = taken_up(self.services.running.config, await asyncio.to_thread(load, self.config_path))
        secrets = webhook_secrets(config)
        if missing := {app.target for app in config.app} - self.services.targets.keys():
            raise ConfigError(f"the first app with target = {missing.pop()} needs a restart", hint="restart deployd")
        reporters = self.reporting.prepare(config)
        self.webhooks.trust(secrets)
        for key in waiting:
            logger.warning("%s has changed: that takes effect at the next restart", key)
        self.services.logs.hide(_all(secrets))
        self.services.running.replace(config)
        await self.reporting.use(reporters)
        logger.info("Reloaded %s", self.config_path)
        return waiting

    def stop_taking(self) -> None:
        """Accept no more connections and end the streams. Requests in flight finish, so a delivery is still stored."""
        self.services.stopping.set()
        self.server.stop()
        self.local.stop()


@asynccontextmanager
async def assemble(config: Config, config_path: Path) -> AsyncIterator[Daemon]:
    """Open everything that `config` needs, and close it in reverse order."""
    state = config.server.state_dir
    secrets = webhook_secrets(config)
    sweep_backups(state)
    async with AsyncExitStack() as stack:
        events = Events()
        store = Store(await stack.enter_async_context(Database(state / "deployd.db")), events)
        logs = Logs(state / "logs", _all(secrets))
        source = await stack.enter_async_context(GitSource(config.git, state / "git"))
        docker = await stack.enter_async_context(
            DockerTarget(config.server.identity, config.gateway, state / "gateway", store)
        )
        targets, readers, expecting = await _targets(config, docker, stack)
        recordings = Recordings(state / "recorded", state / "gateway" / "config" / SOCKET)
        stack.callback(recordings.close)
        expecting = [*expecting, recordings.expect, expect_series]
        running = Running(config)

        def expect(new: Config) -> None:
            for tell in expecting:
                tell(new.app)

        expect(config)
        running.tell(expect)
        builder = _builder(config)
        gates = Gates(store, source, readers, recordings)
        models = MlflowModels(running, store, state / "models")
        stack.push_async_callback(models.close)
        parts = Parts(store, logs, source, builder, targets, gates, models)
        registry = config.registry.prefix if config.registry else None
        pipeline = Pipeline(parts, instance=config.server.identity, builder=config.builder, registry=registry)
        watch = Watch(targets, source, gates)
        aftermath = Aftermath(store, logs, targets, builder, config.builder.cache_bytes, watch)
        checks = GitHubChecks(running, logs)
        stack.push_async_callback(checks.close)
        scheduler = Scheduler(running, store, source, pipeline, aftermath, targets, checks=checks, models=models)
        sampler = Sampler(running, store, docker.counted)
        not_kept = NotKeptList(lambda scope: peer_of(scope, running.config))
        webhooks = Doors(
            *(secrets, scheduler.accept, DELIVERIES),
            propose=scheduler.propose,
            apps=config.app,
            max_body=config.server.max_body,
            not_kept=not_kept,
        )
        running.tell(lambda new: webhooks.follow(new.app))
        reporting = Reporting(running, store, events, logs)
        await reporting.use(reporting.prepare(config))
        running.tell(lambda _: events.publish("config", "", None, {}))

        async def reload() -> Sequence[str]:
            return await daemon.reload()

        services = Services(
            *(running, scheduler, store, events, logs, targets, sampler, reporting, reload), not_kept=not_kept
        )
        servers = _servers(config, services, webhooks)
        daemon = Daemon(config_path, services, webhooks, *servers, docker, reporting)
        yield daemon


def webhook_secrets(config: Config) -> Mapping[str, Sequence[str]]:
    """The secrets that the deliveries of each forge may be signed with. Without any, commits are found only by polling."""
    secrets = secrets_of(config)
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


async def _reload_on(hangup: asyncio.Event, daemon: Daemon) -> None:
    """Reload the config file on every SIGHUP; a broken file changes nothing."""
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await daemon.reload()
        except DeploydError as exc:
            logger.error("The old config stays: %s", exc)


async def _feed_the_watchdog() -> None:
    """Keep telling systemd that the event loop runs."""
    if (pause := systemd.watchdog_seconds()) is not None:
        while True:
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(pause)


async def _tell_systemd(services: Services) -> None:
    """Keep `systemctl status` up to date with what serves and what is under way."""
    if not systemd.listens():
        return
    while True:
        seen = services.events.latest
        try:
            states = await services.store.states([app.name for app in services.config.app])
            systemd.notify(f"STATUS={standing(states, services.scheduler.troubled())}")
        except DeploydError as exc:
            systemd.notify(f"STATUS={exc.message}")
        with suppress(TimeoutError):  # no event tells how a release is
            async with asyncio.timeout(_HEALTH_SECONDS):
                await anext(services.events.watch(after=seen))
        await asyncio.sleep(_SETTLED_SECONDS)


async def _trace(services: Services) -> None:
    """Send a trace of each deploy that ends, where the environment names a receiver."""
    if exporter.wanted(os.environ):
        instance = services.config.server.identity
        with closing(exporter.Exporter(instance)) as receiver:
            await Tracing(services.store, services.events, instance, receiver.send).serve()


def _end_at_once() -> None:
    """Exit although something hangs, such as an engine that does not answer. The state stays consistent, as after a kill."""
    logger.error("Stopping takes too long: exiting now, the next start goes on with the deploys in flight")
    os._exit(1)
