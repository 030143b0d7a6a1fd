"""Which option trims the cache, with stand-ins that answer as recorded pairs of buildx and BuildKit did."""

import sys
from pathlib import Path

import pytest

from deployd.builders.buildkit_cache import BuildkitCache, prune_command
from deployd.builders.docker_cli import Client
from deployd.builders.remote_buildkit import remote_name
from deployd.errors import Unavailable

# buildx 0.13 of Debian 13, and buildx 0.29 before the BuildKit of an engine older than 28.
OLD_CLIENT = "unknown flag: --max-used-space\\nSee 'docker buildx prune --help'."
NEW_CLIENT = (
    "unknown flag: --max-used-space\\n\\nUsage:  docker buildx prune\\n\\nRun 'docker buildx prune --help' for more"
)
OLD_BUILDKIT = "ERROR: buildkit v0.17.0+ is required for max-used-space and min-free-space filters"

STAND_IN = """#!{python}
import pathlib, sys
pathlib.Path({asked!r}).open("a").write(" ".join(sys.argv[1:]) + "\\n")
if "--max-used-space" in sys.argv and {refusal!r}:
    sys.exit({refusal!r})
if {broken!r}:
    print("Flag --keep-storage has been deprecated, keep-storage flag has been changed to reserved-space")
    sys.exit("ERROR: Cannot connect to the Docker daemon")
print("Total:\\t3.5MB")
"""


def a_cache(home: Path, *, refusal: str = "", broken: bool = False) -> BuildkitCache:
    path = home / "docker"
    refusal = refusal.replace("\\n", "\n")
    path.write_text(STAND_IN.format(python=sys.executable, asked=str(home / "asked"), refusal=refusal, broken=broken))
    path.chmod(0o755)
    return BuildkitCache(Client(path, buildx=True), None)


def asked(home: Path) -> list[str]:
    """The options that the cache was trimmed with so far."""
    return [line.split()[4] for line in (home / "asked").read_text().splitlines()]


async def test_a_pair_of_today_is_told_what_may_be_used(tmp_path: Path) -> None:
    assert await a_cache(tmp_path).trim(7, {}) == 3_500_000
    assert asked(tmp_path) == ["--max-used-space"]


@pytest.mark.parametrize("refusal", [OLD_CLIENT, NEW_CLIENT, OLD_BUILDKIT])
async def test_an_older_pair_is_told_what_to_keep_and_what_it_lacks_is_said_once(
    tmp_path: Path, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cache = a_cache(tmp_path, refusal=refusal)
    assert [await cache.trim(7, {}), await cache.trim(7, {})] == [3_500_000, 3_500_000]
    assert asked(tmp_path) == ["--max-used-space", "--keep-storage", "--keep-storage"]
    (said,) = caplog.messages
    assert refusal.partition("\\n")[0] in said


async def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="says: ERROR: Cannot connect to the Docker daemon"):
        await a_cache(tmp_path, refusal=OLD_CLIENT, broken=True).trim(7, {})


def test_the_command_lines_that_shrink_the_cache() -> None:
    plain, plugin = Client(Path("/bin/docker"), buildx=False), Client(Path("/bin/docker"), buildx=True)
    assert prune_command(plain, None, "--keep-storage", 7) == [
        "/bin/docker", "builder", "prune", "--force", "--all", "--keep-storage", "7",
    ]  # fmt: skip
    assert prune_command(plugin, "unix:///run/b.sock", "--max-used-space", 7) == [
        "/bin/docker", "buildx", "prune", "--force", "--all", "--max-used-space", "7",
        "--builder", remote_name("unix:///run/b.sock"),
    ]  # fmt: skip
