"""The part of `deployd check` about the builder: whether it answers, and what it cannot do behind this engine."""

from deployd.builders.engine import EngineBuilder
from deployd.check.finding import Finding
from deployd.config.daemon import Config

UNSTOPPABLE = (
    "Podman cannot stop a build: one that is superseded, cancelled or too slow goes on until its present step has ended"
)
NO_BUILDKIT = 'builder.kind = "buildkit": Podman has no BuildKit'


async def tried(config: Config, *, podman: bool) -> list[Finding]:
    """What is found. Unavailable when the builder does not answer."""
    state, section = config.server.state_dir, config.builder
    if section.kind == "engine":
        await EngineBuilder(section, state, config.registry).ping()
        hint = "several short steps end sooner than a long one; a Docker Engine can stop them"
        limits = [Finding("builder", "warning", UNSTOPPABLE, hint)] if podman else []
        return [Finding("builder", "ok", section.kind), *limits]
    if podman and section.address is None:
        hint = 'set it to "engine"'
        return [Finding("builder", "wrong", NO_BUILDKIT, hint, in_config=True)]
    from deployd.builders.buildkit import BuildkitBuilder  # noqa: PLC0415 - only where it is used

    await BuildkitBuilder(section, state, config.registry).ping()
    unused = " and ".join(f"builder.{key}" for key in ("cpus", "memory") if getattr(section, key) is not None)
    hint = "remove them, or limit BuildKit's own daemon"
    limits = [Finding("builder", "warning", f'{unused}: no effect with kind = "buildkit"', hint)] if unused else []
    return [Finding("builder", "ok", section.kind), *limits]
