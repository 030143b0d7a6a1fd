"""`deployd check`: tries everything that a deploy needs, and says for each fault what to do about it.

It changes nothing: it makes no file but a temporary mirror, and no container but one that never runs an app; both are removed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from deployd.check import builder
from deployd.check.finding import Finding, Verdict
from deployd.check.head import head_found
from deployd.check.models import registered
from deployd.check.podman import limits
from deployd.check.ports import held_by_deployd, usable, wanted
from deployd.check.reports import reported
from deployd.check.repository import found_in
from deployd.check.secrets import readable
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.file import load
from deployd.engine.client import EngineClient
from deployd.errors import ConfigError, DeploydError, Unavailable
from deployd.forges.configured import references_of
from deployd.gates.own import INSTALL, missing, programs_of
from deployd.gates.scoring import unable
from deployd.gateway.certificates import Certificate, prove, read
from deployd.gateway.layout import gateway_name
from deployd.gateway.neighbour import require_ours
from deployd.gateway.used_ports import used_ports
from deployd.targets.docker.trial import Trial
from deployd.targets.kubernetes.pace import share_of, told

_REGISTRY_SECONDS = 30.0
_COARSE = 1.5  # a share so many times as large as it was asked for, or as small
_ROLE_EXEC = "bind the Role in kubernetes/role-exec.yaml too, unless nobody should run commands in pods"
_ROLE = "bind the Role in kubernetes/role.yaml to its account, in the namespace of the app"
_OTHER_ROLES = {
    "secrets": "bind the Role in kubernetes/role-secrets.yaml too",
    "pods/portforward": "add pods/portforward to the Role: deployd needs it outside of the cluster",
}


async def check(path: Path) -> list[Finding]:
    """Try everything, in the order in which a person would fix it."""
    try:
        config = load(path)
    except ConfigError as exc:
        return [Finding.fault("config", exc)]
    found = [Finding("config", "ok", f"{path}: {_counted(config)}"), *readable(config), *_access(config)]
    found += [
        *found_in(path, config),
        _state(config),
        *await reported(config),
        *await _metrics(config),
        *[finding async for finding in _engine(config)],
    ]
    found += await registered(config)
    async with asyncio.TaskGroup() as tasks:
        looking = [tasks.create_task(head_found(config, app)) for app in config.app]
    found += [finding for app in config.app for finding in (*_programs(app), *_shares(app))]
    return found + [finding for task in looking for finding in task.result()]


def _counted(config: Config) -> str:
    names = ", ".join(app.name for app in config.app)
    return f"{len(config.app)} app{'' if len(config.app) == 1 else 's'}{f' ({names})' if names else ''}"


def _access(config: Config) -> Iterator[Finding]:
    if not any(references_of(config).values()):
        said = "no secret: every webhook is refused, only the timer finds pushes"
        yield Finding("webhooks", "warning", said, "set secrets in [github], or in the section of your forge")
    if not config.auth.tokens:
        yield Finding("tokens", "ok", "none: the API is served only through the Unix socket")
    else:
        yield Finding("tokens", "ok", ", ".join(f"{token.name} ({token.role})" for token in config.auth.tokens))
    if config.server.tls is not None:
        for path in (config.server.tls.certificate, config.server.tls.key):
            if not os.access(path, os.R_OK):
                yield Finding("tls", "wrong", f"server.tls: {path} cannot be read", in_config=True)
    yield usable("api port", config.server.host, config.server.port, ours=held_by_deployd(config))


def _state(config: Config) -> Finding:
    directory = config.server.state_dir
    nearest = next(parent for parent in (directory, *directory.parents) if parent.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return Finding("state", "ok", str(directory))
    return Finding("state", "wrong", f"server.state_dir: {directory} cannot be written", in_config=True)


async def _metrics(config: Config) -> list[Finding]:
    """Whether the metrics of each [app.evaluate] can be computed, and its data on this host be read."""
    found: list[Finding] = []
    for app in config.app:
        if (evaluate := app.evaluate) is None:
            continue
        what = f"app {app.name}"
        if why := await unable(evaluate.python):
            hint = "install scikit-learn for it, or name a Python that has it in app.evaluate.python"
            found.append(Finding(what, "wrong", f"evaluate: {why}", hint))
        else:
            found.append(Finding(what, "ok", f"evaluate: {', '.join(evaluate.metrics)} can be computed"))
        if evaluate.data.startswith("/") and not os.access(evaluate.data, os.R_OK):
            found.append(Finding(what, "wrong", f"evaluate: {evaluate.data} cannot be read", in_config=True))
    return found


async def _engine(config: Config) -> AsyncIterator[Finding]:
    if config.app and all(app.target == "kubernetes" for app in config.app):
        async for finding in _cluster(config):
            yield finding
        return
    try:
        engine = EngineClient()
    except ConfigError as exc:
        yield Finding("engine", "wrong", exc.message, exc.hint)
        return
    async with engine:
        try:
            version, podman = await engine.version(), await engine.is_podman()
            what = f"{'Podman' if podman else 'Docker Engine'} {version['Version']} (API {version['ApiVersion']})"
            yield Finding("engine", "ok", f"{what} at {engine.endpoint.url}, by {engine.endpoint.rule}")
            for finding in [*await _gateway(config, engine), *await _options(config, engine)]:
                yield finding
            for finding in [*await builder.tried(config, podman=podman), *(limits(config) if podman else ())]:
                yield finding
        except DeploydError as exc:
            yield Finding("engine", "wrong", exc.message, exc.hint or "start it, or set DOCKER_HOST to its address")
    async for finding in _cluster(config):
        yield finding


async def _gateway(config: Config, engine: EngineClient) -> list[Finding]:
    found = [await _gateway_image(config.gateway.image, engine), *await _neighbour(config, engine)]
    found += _certificates(config)
    used = await used_ports(engine, config.server.identity)
    return found + [
        usable("app port", address, port, key=key, ours=port in used, by_haproxy=True)
        for (address, port), key in sorted(wanted(config).items())
    ]


async def _neighbour(config: Config, engine: EngineClient) -> list[Finding]:
    """Whether another daemon that runs uses this engine under the same instance."""
    instance = config.server.identity
    found = await engine.containers.inspect(gateway_name(instance))
    try:
        if found is not None:
            require_ours(found, config.server.state_dir / "gateway", instance)
    except Unavailable as exc:
        return [Finding("instance", "wrong", exc.message, exc.hint, in_config=True)]
    return []


async def _options(config: Config, engine: EngineClient) -> list[Finding]:
    """Whether the engine takes what each [app.docker] asks of it."""
    trial, found = Trial(engine, config.server.identity, config.gateway.image), list[Finding]()
    for app in (app for app in config.app if app.target == "docker"):
        try:
            tried = await trial.of(app)
        except ConfigError as exc:
            found.append(Finding.fault(f"app {app.name}", exc))
        else:
            untried = f"its options in [app.docker] cannot be tried before the engine has {config.gateway.image}"
            found += (
                [] if tried else [Finding(f"app {app.name}", "warning", untried, f"docker pull {config.gateway.image}")]
            )
    return found


def _certificates(config: Config) -> Iterator[Finding]:
    """What HAProxy would find in `gateway.certificates`, and the hosts that no certificate names."""
    if not config.gateway.tls or config.gateway.certificates is None:
        return
    found = [prove(certificate) for certificate in read(config.gateway.certificates)]
    yield from (_certificate(certificate) for certificate in found)
    for app in config.app:
        for host in app.gateway.hosts:
            if not any(certificate.covers(host.lower()) for certificate in found):
                hint = "put one into gateway.certificates; clients refuse another host's"
                yield Finding("certificate", "warning", f"app.{app.name}.gateway.hosts: none names {host}", hint)


def _certificate(found: Certificate) -> Finding:
    if found.fault or found.warning:
        verdict: Verdict = "wrong" if found.fault else "warning"
        return Finding("certificate", verdict, f"{found.path} {found.fault or found.warning}", found.hint)
    until = f", until {found.until:%Y-%m-%d}" if found.until is not None else ""
    return Finding("certificate", "ok", f"{found.path}: {', '.join(found.hosts) or 'no host'}{until}")


async def _gateway_image(name: str, engine: EngineClient) -> Finding:
    """Whether the engine has the image, or can pull it. Only asks the registry, and pulls nothing."""
    if await engine.images.inspect(name) is not None:
        return Finding("gateway", "ok", f"the engine has the image {name}")
    try:
        async with asyncio.timeout(_REGISTRY_SECONDS):
            await engine.images.can_be_pulled(name)
    except (DeploydError, TimeoutError) as exc:
        hint = f"docker pull {name}, or set gateway.image to an image that this machine has or can pull"
        why = str(exc) or f"its registry does not answer within {_REGISTRY_SECONDS:g} s"
        return Finding("gateway", "wrong", f"the engine has no image {name} and cannot pull it: {why}", hint)
    return Finding("gateway", "ok", f"the engine will pull the image {name} at the start")


def _programs(app: App) -> Iterator[Finding]:
    """The commands of the app's own gates and hooks that cannot be run here."""
    for kind, asked in programs_of(app):
        if why := missing(asked):
            where = f"app.{app.name}.{kind}.{asked.name}.command"
            yield Finding(f"app {app.name}", "wrong", f"{where}: {why}", INSTALL, in_config=True)


def _shares(app: App) -> Iterator[Finding]:
    """What a canary on a cluster, where it has whole pods, makes of the percentages."""
    settings = app.kubernetes
    if app.target != "kubernetes" or settings is None or not settings.create:
        return
    replicas = settings.autoscale.min if settings.autoscale is not None else settings.replicas
    for percent in app.gateway.weights[:-1] if replicas else ():
        new = share_of(percent, replicas)
        coarse = not 1 / _COARSE <= new / (replicas + new) / (percent / 100) <= _COARSE
        said = f"gateway.weights: {told(percent, new, replicas + new)}"
        hint = "a share has whole pods, and at most half of them: more replicas make smaller shares" if coarse else ""
        yield Finding(f"app {app.name}", "warning" if coarse else "ok", said, hint)


async def _cluster(config: Config) -> AsyncIterator[Finding]:
    if not any(app.target == "kubernetes" for app in config.app):
        return
    from deployd.targets.kubernetes.target import KubernetesTarget  # noqa: PLC0415 - large, and only needed where an app uses it

    try:
        async with KubernetesTarget(config, config.server.state_dir / "kubernetes") as target:
            for part, said in (await target.ping()).items():
                yield Finding(part, "ok" if said == "ok" else "wrong", said)
            for app in (app for app in config.app if app.target == "kubernetes"):
                if missing := await target.missing(app):
                    roles = dict.fromkeys(_OTHER_ROLES.get(right.split()[-1], _ROLE) for right in missing)
                    lacking = f"the account on the cluster may not: {', '.join(missing)}"
                    yield Finding(f"app {app.name}", "wrong", lacking, "; ".join(roles))
                if missing := await target.missing_for_proofs(app):
                    lacking = f"`deployd prove` needs more: the account on the cluster may not: {', '.join(missing)}"
                    yield Finding(f"app {app.name}", "warning", lacking, _ROLE)
                if missing := await target.missing_for_commands(app):
                    lacking = (
                        "`deployd exec`, and the model's own file in a pod, need more: the account on the cluster may not: "
                        f"{', '.join(missing)}"
                    )
                    yield Finding(f"app {app.name}", "warning", lacking, _ROLE_EXEC)
    except DeploydError as exc:
        yield Finding.fault("cluster", exc)
