"""The rows of the table of engines in docs/hosts.md: what a user wants to know of one, and the tests that show it."""

from dataclasses import dataclass

_BUILDS, _IMAGES = (f"tests/contract/test_{name}.py" for name in ("builders", "images"))
_PUSHES = "tests/e2e/test_push_to_live.py"
_GATEWAY = tuple(f"tests/targets/docker/test_{name}.py" for name in ("frontends", "settings", "canary"))
_FAULTS = tuple(f"tests/targets/docker/test_{name}.py" for name in ("gateway_faults", "faults"))
_STOPS = "cancelled_build or takes_too_long or push_during_a_build"


@dataclass(frozen=True, slots=True)
class Feature:
    """One row: pytest runs what `chosen` (its -k) leaves of `files`, or of single tests in them, that have the mark."""

    name: str
    files: tuple[str, ...]
    chosen: str = ""
    mark: str = "engine"

    @property
    def options(self) -> list[str]:
        """The options of pytest."""
        return [*self.files, "-m", self.mark, *(["-k", self.chosen] if self.chosen else [])]


ENGINE_BUILDS = Feature("Build by the engine", (_BUILDS,), f"[engine] and not ({_STOPS} or trimming)")
BUILDKIT_BUILDS = Feature("Build by BuildKit", (_BUILDS,), f"[buildkit] and not ({_STOPS} or trimming)")
STOPPED_BUILDS = Feature("A newer push stops the build", (_BUILDS, _PUSHES), _STOPS)
TRIMMED = Feature("The build cache is trimmed", (_BUILDS, "tests/builders/test_engine.py"), "trimming or kept_as_cache")
KEPT_IMAGES = Feature("Images: each build its own, old ones removed, others' kept", (_IMAGES,))
ROLL_OUTS = Feature("Gates, cut-over, standby, restore", ("tests/contract/test_targets.py",))
SWAPS = Feature("Swaps lose no request", (_PUSHES, "tests/targets/docker/test_rollout.py"), "five_swaps")
FAILURES = Feature(
    "A failed push leaves the old release serving", (_PUSHES,), "old_release_serves_on or only_what_serves"
)
ROLLBACK = Feature("Rollback to the kept image", (_PUSHES,), "rollback")
GATEWAY = Feature("TLS, hosts and paths, canaries, reloads", _GATEWAY)
GATEWAY_FAULTS = Feature("The gateway restarts, is upgraded, is removed", _FAULTS)
RESTARTED = Feature("The engine is killed and restarted", ("tests/faults/test_engine_restarted.py",))
OPTIONS = Feature(
    "Options of `docker run`", tuple(f"tests/targets/docker/test_{name}.py" for name in ("options", "trial"))
)
DEMO = Feature("The demo holds its promises", ("tests/e2e/test_demo.py",), "succeeds")

FEATURES = (
    ENGINE_BUILDS,
    BUILDKIT_BUILDS,
    STOPPED_BUILDS,
    TRIMMED,
    KEPT_IMAGES,
    ROLL_OUTS,
    SWAPS,
    FAILURES,
    ROLLBACK,
    GATEWAY,
    GATEWAY_FAULTS,
    RESTARTED,
    OPTIONS,
    DEMO,
)
