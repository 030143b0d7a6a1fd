"""The options of `[app.docker]` that Podman silently ignores: deployd refuses them instead. Pure."""

from deployd.config.app import App
from deployd.errors import ConfigError

_LOG_OPTIONS = frozenset({"label", "max-file", "max-size", "path", "tag"})


def unheeded(app: App, cpus: int) -> ConfigError | None:
    """The first option of the app that Podman, on a host with that many CPUs, would ignore."""
    docker, where = app.docker, f"app.{app.name}.docker"
    if docker.cpus is not None and docker.cpus > cpus:
        return ConfigError(f"{where}.cpus: this engine has {cpus} CPUs", hint="ask for at most as many")
    if docker.runtime:
        what = f"this engine has no runtime {docker.runtime} for one container alone: Podman takes the same for all"
        return ConfigError(f"{where}.runtime: {what}", hint="set runtime in [engine] of its containers.conf instead")
    if docker.log is not None and (unknown := docker.log.options.keys() - _LOG_OPTIONS):
        what = f"{docker.log.driver} has no option {min(unknown)}"
        return ConfigError(f"{where}.log.options: {what}", hint=f"Podman knows {', '.join(sorted(_LOG_OPTIONS))}")
    return None
