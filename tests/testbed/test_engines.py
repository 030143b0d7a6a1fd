import os
from pathlib import Path

import pytest

from tests.testbed.engines import OtherEngine, Release
from tests.testbed.roots import Root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "deployd-testbed"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        (Release("26"), "26"),
        (Release("28", containerd_store=True), "28-containerd"),
        (Release("28", containerd_store=True, min_api="1.44"), "28-containerd-1.44"),
    ],
)
def test_engines_that_store_or_speak_differently_have_different_names(release: Release, name: str) -> None:
    assert release.name == name


def test_a_client_of_another_engine_uses_the_clients_of_its_release(cache: Path) -> None:
    environment = OtherEngine("26", Root("trixie", cache / "roots/trixie")).environment
    assert environment["DOCKER_HOST"] == f"unix://{cache}/engines/26/docker.sock"
    assert environment["PATH"].startswith(f"{cache}/engines/26/bin:")


@pytest.mark.parametrize(
    "recorded", ["", "nonsense", str(os.getpid()), "4194305"], ids=["none", "words", "ours", "gone"]
)
def test_only_a_process_with_the_engines_directory_in_its_command_line_is_the_engine(
    cache: Path, recorded: str
) -> None:
    engine = OtherEngine("26", Root("trixie", cache / "roots/trixie"))
    engine.directory.mkdir(parents=True)
    (engine.directory / "started").write_text(recorded)
    assert engine.pid is None
