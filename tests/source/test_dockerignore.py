"""Docker's rules for .dockerignore as a table, which a real engine confirms."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from deployd.source.dockerignore import parse

FILES = (
    ".dockerignore",
    "Dockerfile",
    "README.md",
    "README-secret.md",
    "a.txt",
    "b.md",
    "dir/a.txt",
    "dir/b.md",
    "dir/keep.txt",
    "dir/sub/a.txt",
    "dir/sub/deep/a.txt",
    "dir/sub/keep.txt",
    "docs/a.txt",
    "docs2/a.txt",
    "x[1].txt",
    "x1.txt",
    "we ird",
    "#comment",
    "!bang",
)

# .dockerignore -> what it excludes
TABLE: dict[str, set[str]] = {
    "": set(),
    "# a comment\n\n   \n": set(),
    "*.md": {"README.md", "README-secret.md", "b.md"},
    "**/*.md": {"README.md", "README-secret.md", "b.md", "dir/b.md"},
    "*.md\n!README*.md\nREADME-secret.md": {"b.md", "README-secret.md"},
    "*.md\nREADME-secret.md\n!README*.md": {"b.md"},
    "dir": {"dir/a.txt", "dir/b.md", "dir/keep.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "dir/": {"dir/a.txt", "dir/b.md", "dir/keep.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "/dir/sub": {"dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "./dir/../dir/sub/": {"dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "dir\n!dir/keep.txt": {"dir/a.txt", "dir/b.md", "dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "dir\n!dir/sub\ndir/sub/deep": {"dir/a.txt", "dir/b.md", "dir/keep.txt", "dir/sub/deep/a.txt"},
    "dir/*\n!dir/sub/keep.txt": {"dir/a.txt", "dir/b.md", "dir/keep.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt"},
    "*/a.txt": {"dir/a.txt", "docs/a.txt", "docs2/a.txt"},
    "*/*/a.txt": {"dir/sub/a.txt"},
    "**/a.txt": {"a.txt", "dir/a.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt", "docs/a.txt", "docs2/a.txt"},
    "dir/**/a.txt": {"dir/a.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt"},
    "dir/**": {"dir/a.txt", "dir/b.md", "dir/keep.txt", "dir/sub/a.txt", "dir/sub/deep/a.txt", "dir/sub/keep.txt"},
    "**/deep": {"dir/sub/deep/a.txt"},
    "**deep": {"dir/sub/deep/a.txt"},
    "docs**": {"docs/a.txt", "docs2/a.txt"},
    "docs?": {"docs2/a.txt"},
    "doc[a-z]": {"docs/a.txt"},
    "x[[]1].txt": {"x[1].txt"},
    "x\\[1\\].txt": {"x[1].txt"},
    "x[0-9].txt": {"x1.txt"},
    "x[^0-9]*": {"x[1].txt"},
    "we ird": {"we ird"},
    "  a.txt  ": {"a.txt"},
    "a.txt\r": {"a.txt"},
    "\\#comment": {"#comment"},
    "\\!bang": {"!bang"},
    "a.t": set(),
    "a+txt": set(),
    "..": set(),
    "/": set(),
    "*\n!dir\ndir/sub": {
        *(name for name in FILES if "/" not in name and name not in {"Dockerfile", ".dockerignore"}),
        "dir/sub/a.txt",
        "dir/sub/deep/a.txt",
        "dir/sub/keep.txt",
        "docs/a.txt",
        "docs2/a.txt",
    },
}


def left_out(text: str, files: tuple[str, ...] = FILES) -> set[str]:
    """What of `files` the patterns leave out, asked as the build context asks: directories before what is in them."""
    ignore = parse(text)
    seen: set[str] = set()
    found = set()
    for name in files:
        parts = name.split("/")
        for directory in ("/".join(parts[:n]) for n in range(1, len(parts))):
            if directory not in seen:
                seen.add(directory)
                ignore.ignores(directory, directory=True)
        if ignore.ignores(name) and name not in {"Dockerfile", ".dockerignore"}:
            found.add(name)
    return found


@pytest.mark.parametrize("text", TABLE)
def test_the_patterns_exclude_the_files_of_the_table(text: str) -> None:
    assert left_out(text) == TABLE[text]


@pytest.mark.parametrize("text", ["!", "! ", "a[", "a[]", "[^]", "a\\", "ok\n[z-a]"])
def test_an_invalid_line_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        parse(text)


def test_a_byte_order_mark_is_ignored() -> None:
    assert left_out("\ufeffa.txt") == {"a.txt"}


@pytest.mark.engine
@pytest.mark.parametrize("text", TABLE)
def test_docker_excludes_the_same_files(text: str, engine: str, instance: str, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY . /context/\nCMD ["none"]\n')
    (tmp_path / ".dockerignore").write_text(text, newline="")
    label = f"io.deployd.instance={instance}"
    # Without the cache: a test beside this one may remove a layer of the same files in the middle of this build.
    image = docker(engine, "build", "--quiet", "--no-cache", "--label", label, str(tmp_path)).decode().strip()
    container = docker(engine, "create", "--label", label, image).decode().strip()
    exported = docker(engine, "export", container)
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        there = {member.name.removeprefix("context/") for member in tar if member.isreg()}
    expected = {name for name in FILES if name not in {"Dockerfile", ".dockerignore"}} - there
    assert left_out(text) == expected


def docker(engine: str, *arguments: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": engine, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, check=True, env=environment).stdout
