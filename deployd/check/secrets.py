"""The part of `deployd check` about secrets: every one that the config names can be read."""

from collections.abc import Iterator

from deployd.check.finding import Finding
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.values import read_secret
from deployd.errors import ConfigError
from deployd.forges.configured import references_of, sections
from deployd.forges.gitlab import GitLab


def readable(config: Config) -> Iterator[Finding]:
    """Each secret, and why it cannot be read."""
    for key, reference in references(config):
        try:
            value = read_secret(reference, key)
            if key.startswith("gitlab.secrets"):
                GitLab([value.encode()])  # a signing token has a form
        except ConfigError as exc:
            yield Finding.fault("secret", exc)
        else:
            yield Finding("secret", "ok", f"{key}: {reference} can be read")


def references(config: Config) -> Iterator[tuple[str, str]]:
    """The key path and the reference of every secret in the config."""
    for name, its in references_of(config).items():
        yield from ((f"{name}.secrets[{at}]", one) for at, one in enumerate(its))
    for name, section in sections(config).items():
        if section.token is not None:
            yield f"{name}.token", section.token
    if config.github.app is not None:
        yield "github.app.key", config.github.app.key
    yield from ((f"notify.urls[{at}]", one) for at, one in enumerate(config.notify.urls))
    if config.registry is not None and config.registry.password is not None:
        yield "registry.password", config.registry.password
    for app in config.app:
        yield from ((f"app.{app.name}.{key}", one) for key, one in _of(app))


def _of(app: App) -> Iterator[tuple[str, str]]:
    for key in ("credentials", "ssh_key", "known_hosts"):
        if (reference := getattr(app, key)) is not None:
            yield key, reference
    if app.watch is not None and app.watch.prometheus is not None and app.watch.prometheus.token is not None:
        yield "watch.prometheus.token", app.watch.prometheus.token
    if app.model is not None:
        yield from (
            (f"model.{key}", one)
            for key, one in (("password", app.model.password), ("token", app.model.token))
            if one is not None
        )
    yield from ((f"build.secrets.{name}", one) for name, one in app.build.secrets.items())
    env = (app.docker if app.target == "docker" or app.kubernetes is None else app.kubernetes).env_secrets.items()
    yield from ((f"{app.target}.env_secrets.{name}", one) for name, one in env)
