import os
import subprocess
from pathlib import Path

import pytest

from deployd.bringup import packages
from deployd.errors import Unavailable
from tests.testbed.programs import program, unpacked


def test_a_program_on_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("tool", "a-package") == tool


def test_a_program_is_found_in_sbin_of_an_unpacked_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    daemon = tmp_path / "deployd-testbed/packages/a-package/usr/sbin/no-such-daemon"
    daemon.parent.mkdir(parents=True)
    daemon.touch()
    assert program("no-such-daemon", "a-package") == daemon


def test_without_apt_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="a-package"):
        program("tool", "a-package")


@pytest.mark.engine
@pytest.mark.skipif(not packages.can_install(), reason="needs Debian's package lists")
def test_a_package_is_unpacked_once_and_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    contents = unpacked("hello")
    assert (
        "Hello"
        in subprocess.run([contents / "usr/bin/hello"], capture_output=True, text=True, check=True, env={}).stdout
    )
    assert not Path("/usr/bin/hello").exists()
    monkeypatch.setenv("PATH", os.devnull)
    assert unpacked("hello") == contents


def test_a_package_that_apt_cannot_download_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, does in {"apt-get": "echo E: Unable to locate package >&2; exit 100", "apt-cache": "true"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Unavailable) as refused:
        unpacked("no-such-package")
    assert "Unable to locate" in refused.value.hint
    assert not (tmp_path / "cache/deployd-testbed/packages/no-such-package").exists()
