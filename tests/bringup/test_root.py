import sys
import tarfile
from pathlib import Path

import pytest

from deployd.bringup import root
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable

# Takes the arguments of debootstrap (options, suite, directory, mirror) and fills the directory.
DEBOOTSTRAP = f"""#!{sys.executable}
import pathlib, sys
suite, directory, mirror = sys.argv[3:]
root = pathlib.Path(directory)
for path in ("bin/sh", "dev/null", "var/cache/apt/big.deb", "usr/share/doc/a/copyright", "etc/suite"):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(suite + " from " + mirror)
for number in range(3):
    print("I: Retrieving", number)
"""


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake debootstrap that makes five files, first on PATH, and an empty cache."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "debootstrap"
    script.write_text(DEBOOTSTRAP)
    script.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(root, "ensure_packages", lambda *names, progress: None)
    monkeypatch.setattr(root, "mirror", lambda: "https://d.example.com/")
    return script


def test_a_root_comes_from_the_mirror_of_the_host_without_caches_and_documents(debootstrap: Path) -> None:
    with tarfile.open(root.debian_root("bookworm", Progress())) as archive:
        files = [entry.name for entry in archive if entry.isfile()]
        suite = archive.extractfile("./etc/suite")
        assert suite is not None
        assert suite.read() == b"bookworm from https://d.example.com/"
    assert sorted(files) == ["./bin/sh", "./etc/suite"]


def test_a_root_is_made_once(debootstrap: Path) -> None:
    made = root.debian_root("bookworm", Progress())
    debootstrap.write_text("#!/bin/sh\nexit 1\n")
    assert root.debian_root("bookworm", Progress()) == made


def test_a_failed_debootstrap_leaves_nothing_and_is_reported(debootstrap: Path, tmp_path: Path) -> None:
    debootstrap.write_text("#!/bin/sh\necho E: no such suite\nexit 1\n")
    with pytest.raises(Unavailable, match="debootstrap failed") as refused:
        root.debian_root("bookworm", Progress())
    assert "no such suite" in refused.value.hint
    assert list((tmp_path / "cache" / "deployd-testbed").iterdir()) == []
