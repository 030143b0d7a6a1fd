"""Large files: pointers that stay, and pointers that a real git-lfs replaces."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from deployd.errors import BuildFailed
from deployd.ports.source import Context
from deployd.source.lfs import Pointer, pointer
from deployd.source.source import GitSource
from tests.conftest import needed
from tests.source.repositories import Content, Lines, Repository, an_app
from tests.testbed.programs import program

DOCKERFILE = b"FROM scratch\n"


@pytest.fixture
def git_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real git-lfs on PATH."""
    directory = needed(lambda: program("git-lfs", "git-lfs")).parent
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{directory}")


def a_pointer(content: bytes) -> bytes:
    name = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {len(content)}\n".encode()


def store(repository: Repository, content: bytes) -> None:
    """Put a large file where a local remote stores it."""
    name = hashlib.sha256(content).hexdigest()
    directory = repository.path / "lfs/objects" / name[:2] / name[2:4]
    directory.mkdir(parents=True)
    (directory / name).write_bytes(content)


async def files_of(context: Context) -> dict[str, bytes]:
    data = b"".join([piece async for piece in context.tar()])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: reader.read() for member in tar if (reader := tar.extractfile(member))}


def commit_pointer_to(repository: Repository, model: bytes) -> str:
    files: dict[str, Content] = {
        "Dockerfile": DOCKERFILE,
        ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
        ".lfsconfig": b'[lfs]\n\turl = "http://127.0.0.1:9/elsewhere"\n',
        "model.bin": a_pointer(model),
        "small": b"1",
    }
    return repository.commit(files)


def test_a_pointer_is_recognised_by_its_three_lines() -> None:
    assert pointer(a_pointer(b"abc")) == Pointer(hashlib.sha256(b"abc").hexdigest(), 3)
    assert pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:../../x\nsize 3\n") is None
    assert pointer(b"anything else") is None


async def test_without_lfs_in_the_config_pointers_stay_and_the_log_warns_once(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = commit_pointer_to(repository, b"abc")
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        for _ in range(2):
            assert (await files_of(context))["model.bin"] == a_pointer(b"abc")
    assert lines.text.count("Warning: 1 files are LFS pointers") == 1


@pytest.mark.usefixtures("git_lfs")
async def test_with_lfs_in_the_config_large_files_replace_their_pointers(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    model = os.urandom(3_000_001)
    commit = commit_pointer_to(repository, model)
    store(repository, model)
    app = an_app(f"file://{repository.path}", build={"lfs": True})
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        files = await files_of(context)
    assert (files["model.bin"] == model, files["small"]) == (True, b"1")
    assert "Warning" not in lines.text


@pytest.mark.usefixtures("git_lfs")
async def test_a_large_file_that_the_remote_does_not_have_fails_the_build(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = commit_pointer_to(repository, b"never stored")
    app = an_app(f"file://{repository.path}", build={"lfs": True})
    with pytest.raises(BuildFailed, match=r"large file|LFS object"):
        async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
            await files_of(context)


async def test_without_git_lfs_on_the_host_the_error_says_what_is_needed(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(programs))
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    with pytest.raises(BuildFailed, match="needs git-lfs on the host"):
        await source.fetch(an_app(str(repository.path), build={"lfs": True}), commit, "refs/heads/main", lines)
