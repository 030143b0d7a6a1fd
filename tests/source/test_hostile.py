"""Hostile repositories: links, crafted trees, attributes, filters, hooks and submodules."""

import io
import tarfile
from pathlib import Path

import pytest

from deployd.errors import BuildFailed
from deployd.ports.source import Context
from deployd.source.source import GitSource
from tests.source.repositories import Content, Lines, Link, Repository, Submodule, an_app

DOCKERFILE = b"FROM scratch\n"


async def files_of(context: Context) -> dict[str, bytes | None]:
    data = b"".join([piece async for piece in context.tar()])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: (reader.read() if (reader := tar.extractfile(member)) else None)
            for member in tar
            if member.isreg()
        }


async def test_attributes_do_not_change_what_is_built(source: GitSource, repository: Repository, lines: Lines) -> None:
    files: dict[str, Content] = {
        "Dockerfile": DOCKERFILE,
        ".gitattributes": b"secret export-ignore\nversion export-subst\n*.bin filter=evil\n*.txt text eol=crlf\n",
        "secret": b"still here",
        "version": b"$Format:%H$",
        "a.bin": b"raw",
        "a.txt": b"line\n",
    }
    commit = repository.commit(files)
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        assert await files_of(context) == files


async def test_hooks_and_git_settings_from_the_environment_of_the_daemon_are_not_used(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for hook in ("reference-transaction", "post-checkout", "pre-auto-gc"):
        (evil / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
        (evil / hook).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f'[core]\n\thooksPath = {evil}\n[url "file:///nowhere"]\n\tinsteadOf = /\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_EXEC_PATH", str(evil))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "traced"))
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        assert await files_of(context) == {"Dockerfile": DOCKERFILE}
    assert not (tmp_path / "hooked").exists()
    assert not (tmp_path / "traced").exists()


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"../../up", b"/etc/x", b"a//b", b"a/../../b"])
async def test_names_that_lead_out_of_the_root_or_have_a_meaning_for_git_are_refused(
    source: GitSource, repository: Repository, lines: Lines, name: bytes
) -> None:
    dockerfile, evil = repository.blob(DOCKERFILE), repository.blob(b"evil")
    commit = repository.commit_of_tree([("100644", b"Dockerfile", dockerfile), ("100644", name, evil)])
    with pytest.raises(BuildFailed, match="cannot go into a build context"):
        async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines):
            pass


async def test_a_file_behind_a_link_is_refused(source: GitSource, repository: Repository, lines: Lines) -> None:
    blobs = [repository.blob(content) for content in (DOCKERFILE, b"/etc", b"root::0:0::/:/bin/sh\n")]
    inner = repository.tree([("100644", b"passwd", blobs[2])])
    twice = [("100644", b"Dockerfile", blobs[0]), ("120000", b"a", blobs[1]), ("40000", b"a", inner)]
    behind = [("100644", b"Dockerfile", blobs[0]), ("120000", b"a", blobs[1]), ("100644", b"a/passwd", blobs[2])]
    for entries in (twice, behind):
        commit = repository.commit_of_tree(entries)
        with pytest.raises(BuildFailed, match="cannot go into a build context"):
            await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines)


async def test_a_link_target_that_looks_like_output_of_git_reveals_no_other_object(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    other = repository.blob(b"of another commit")
    target = f"../out\n{other} blob 17"
    commit = repository.commit({"Dockerfile": DOCKERFILE, "x": Link(target), "known": b"of another commit"})
    app = an_app(str(repository.path), build={"dockerfile": "x"})
    with pytest.raises(BuildFailed, match="there is no file x"):
        await source.fetch(app, commit, "refs/heads/main", lines)


async def test_submodules_are_left_empty_unless_the_app_asks_for_them(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    gitmodules = b'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% /tmp/never\n'
    commit = repository.commit({"Dockerfile": DOCKERFILE, ".gitmodules": gitmodules, "x": Submodule("1" * 40)})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        data = b"".join([piece async for piece in context.tar()])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("x").isdir()


async def test_nested_submodules_with_relative_urls_are_fetched_at_their_recorded_commits(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    inner = Repository.create(repository.path.parent / "inner.git")
    inner_commit = inner.commit({"deep.txt": b"deep"})
    inner.commit({"deep.txt": b"newer"})
    outer = Repository.create(repository.path.parent / "outer.git")
    modules = b'[submodule "i"]\n\tpath = in\n\turl = %s\n'
    outer_commit = outer.commit(
        {"o.txt": b"outer", "in": Submodule(inner_commit), ".gitmodules": modules % b"../inner.git"}
    )
    commit = repository.commit(
        {
            "Dockerfile": DOCKERFILE,
            ".dockerignore": b"**/.gitmodules\n",
            "lib/out": Submodule(outer_commit),
            ".gitmodules": b'[submodule "o"]\n\tpath = lib/out\n\turl = ./../outer.git\n',
        }
    )
    app = an_app(str(repository.path), build={"submodules": True})
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        assert await files_of(context) == {
            "Dockerfile": DOCKERFILE,
            ".dockerignore": b"**/.gitmodules\n",
            "lib/out/o.txt": b"outer",
            "lib/out/in/deep.txt": b"deep",
        }


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% {}",
        "http://example.com/x",
        "git://example.com/x",
        "--upload-pack=touch {}",
        "-x",
        "https:/\nx",
    ],
)
async def test_submodule_urls_with_other_protocols_or_options_are_refused(
    source: GitSource, repository: Repository, lines: Lines, url: str, tmp_path: Path
) -> None:
    text = url.format(tmp_path / "ran").replace("\n", "\\n")
    modules = f'[submodule "x"]\n\tpath = x\n\turl = "{text}"\n'.encode()
    commit = repository.commit({"Dockerfile": DOCKERFILE, ".gitmodules": modules, "x": Submodule("1" * 40)})
    app = an_app(str(repository.path), build={"submodules": True})
    with pytest.raises(BuildFailed):
        await source.fetch(app, commit, "refs/heads/main", lines)
    assert not (tmp_path / "ran").exists()


async def test_a_submodule_without_a_url_is_refused(source: GitSource, repository: Repository, lines: Lines) -> None:
    for extra in ({}, {".gitmodules": b"[core]\n"}, {".gitmodules": b"\0["}):
        commit = repository.commit({"Dockerfile": DOCKERFILE, "x": Submodule("1" * 40), **extra})
        app = an_app(str(repository.path), build={"submodules": True})
        with pytest.raises(BuildFailed, match=r"\.gitmodules"):
            await source.fetch(app, commit, "refs/heads/main", lines)


@pytest.mark.slow
async def test_a_submodule_that_contains_itself_is_refused(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    modules = b'[submodule "x"]\n\tpath = x\n\turl = ../iris.git\n'
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    for _ in range(12):
        files: dict[str, Content] = {"Dockerfile": DOCKERFILE, ".gitmodules": modules, "x": Submodule(commit)}
        commit = repository.commit(files)
    app = an_app(str(repository.path), build={"submodules": True})
    with pytest.raises(BuildFailed, match="nested deeper"):
        await source.fetch(app, commit, "refs/heads/main", lines)
