import os
import sys
from pathlib import Path

import pytest

from deployd.bringup import packages
from deployd.errors import Unavailable

debian = pytest.mark.skipif(not packages.can_install(), reason="needs root on Debian")


def test_a_package_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "can_install", lambda: False)
    with pytest.raises(Unavailable, match="no-such-package") as refused:
        packages.ensure_packages("no-such-package")
    assert "root on Debian" in refused.value.hint


def test_only_root_may_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not packages.can_install()


def test_the_mirror_is_the_main_archive_of_debian_among_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "Other|Other|https://other.example.com/\nDebian|Debian-Security|https://s.example.com/\nDebian|Debian|https://d.example.com/"
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!{sys.executable}\nprint({lines!r})\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert packages.mirror() == "https://d.example.com/"


def test_a_host_without_debian_sources_has_no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'Ubuntu|Ubuntu|https://u.example.com/'\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Debian archive"):
        packages.mirror()


@debian
def test_an_installed_package_is_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "refresh", lambda: pytest.fail("apt was asked"))
    packages.ensure_packages("dpkg", "apt")


@debian
@pytest.mark.slow
def test_only_a_package_that_exists_is_known() -> None:
    assert packages.known("dpkg")
    assert not packages.known("no-such-package")
