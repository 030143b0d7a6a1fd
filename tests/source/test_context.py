"""The build context of a commit: its files, its Dockerfile, its limits."""

import tarfile
from pathlib import Path

import pytest

from deployd.config.daemon import Git
from deployd.errors import BuildFailed, Unavailable
from deployd.source.source import GitSource
from tests.source.conftest import WAITS
from tests.source.repositories import DATE, Content, Lines, Link, Program, Repository, an_app, tar_of

DOCKERFILE = b"FROM scratch\n"


async def test_exactly_the_commit_is_fetched_when_the_branch_has_moved_on(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    old = repository.commit({"Dockerfile": DOCKERFILE, "version": b"1"})
    repository.commit({"Dockerfile": DOCKERFILE, "version": b"2"})
    async with await source.fetch(an_app(str(repository.path)), old, "refs/heads/main", lines) as context:
        assert await context.read("version") == b"1"
        assert context.commit == old


async def test_the_context_contains_files_programs_directories_and_links_as_in_git(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    files: dict[str, Content] = {
        "Dockerfile": DOCKERFILE,
        "bin/run": Program(b"#!/bin/sh\n"),
        "link": Link("/etc/passwd"),
        "deep/er/file": b"x" * 300_000,
        "empty": b"",
        "na\nme \udcff": b"odd",
    }
    commit = repository.commit(files)
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        tar = await tar_of(context)
    assert {name: (member.type, member.mode, member.size) for name, member in tar.items()} == {
        "Dockerfile": (tarfile.REGTYPE, 0o644, 13),
        "bin": (tarfile.DIRTYPE, 0o755, 0),
        "bin/run": (tarfile.REGTYPE, 0o755, 10),
        "link": (tarfile.SYMTYPE, 0o777, 0),
        "deep": (tarfile.DIRTYPE, 0o755, 0),
        "deep/er": (tarfile.DIRTYPE, 0o755, 0),
        "deep/er/file": (tarfile.REGTYPE, 0o644, 300_000),
        "empty": (tarfile.REGTYPE, 0o644, 0),
        "na\nme \udcff": (tarfile.REGTYPE, 0o644, 3),
    }
    assert tar["link"].linkname == "/etc/passwd"
    assert {(member.uid, member.gid, member.mtime) for member in tar.values()} == {(0, 0, DATE)}


async def test_the_same_commit_gives_the_same_bytes_every_time(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, **{f"file{n}": b"%d" % n * 1000 for n in range(300)}})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        first = b"".join([piece async for piece in context.tar()])
        second = b"".join([piece async for piece in context.tar()])
    assert first == second
    assert len(first) > 300_000


@pytest.mark.slow
async def test_closing_the_context_ends_a_tar_that_was_not_read_to_the_end(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, **{f"file{n}": bytes([n]) * 3_000_000 for n in range(5)}})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        stream = context.tar()
        assert await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_context_below_the_root_contains_only_that_directory(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"service/Dockerfile": DOCKERFILE, "service/app.py": b"", "other": b""})
    app = an_app(str(repository.path), build={"context": "service"})
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        assert set(await tar_of(context)) == {"Dockerfile", "app.py"}
        assert (context.dockerfile, context.instructions) == ("Dockerfile", DOCKERFILE)
        assert await context.read("other") == b""


async def test_a_dockerfile_outside_of_the_context_gets_a_new_name(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"service/Dockerfile": b"FROM other\n", "docker/prod": DOCKERFILE})
    app = an_app(str(repository.path), build={"context": "service", "dockerfile": "docker/prod"})
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        tar = await tar_of(context)
        assert context.dockerfile.startswith(".dockerfile.")
        assert tar[context.dockerfile].size == len(DOCKERFILE)
        assert context.instructions == DOCKERFILE


async def test_a_dockerfile_that_is_a_link_inside_the_repository_is_followed(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit(
        {"Dockerfile": Link("docker/prod"), "docker/prod": DOCKERFILE, ".dockerignore": b"docker\n"}
    )
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        tar = await tar_of(context)
        assert tar[context.dockerfile].isreg()
        assert "docker/prod" not in tar


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "Dockerfile", "gone"])
async def test_a_dockerfile_that_links_to_no_file_in_the_repository_is_refused(
    source: GitSource, repository: Repository, lines: Lines, target: str
) -> None:
    commit = repository.commit({"Dockerfile": Link(target)})
    with pytest.raises(BuildFailed, match="there is no file Dockerfile"):
        await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines)


@pytest.mark.parametrize("context", ["nowhere", "file", "link"])
async def test_a_context_that_is_no_directory_is_refused(
    source: GitSource, repository: Repository, lines: Lines, context: str
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "file": b"", "real/a": b"", "link": Link("real")})
    app = an_app(str(repository.path), build={"context": context, "dockerfile": "Dockerfile"})
    with pytest.raises(BuildFailed, match=f"there is no directory {context}"):
        await source.fetch(app, commit, "refs/heads/main", lines)


async def test_reading_follows_links_only_inside_the_repository(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    files: dict[str, Content] = {
        "Dockerfile": DOCKERFILE,
        "golden.json": b"[]",
        "in": Link("golden.json"),
        "out": Link("../x"),
        "etc": Link("/etc"),
    }
    commit = repository.commit(files)
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        found = {
            path: await context.read(path) for path in ("golden.json", "in", "out", "etc/passwd", "no\nHEAD", "-x")
        }
    assert found == {"golden.json": b"[]", "in": b"[]", "out": None, "etc/passwd": None, "no\nHEAD": None, "-x": None}


async def test_reading_a_huge_file_is_refused(source: GitSource, repository: Repository, lines: Lines) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "huge": bytes(17 << 20)})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        with pytest.raises(BuildFailed, match="huge is larger than"):
            await context.read("huge")


async def test_a_context_above_the_size_limit_is_refused(repository: Repository, lines: Lines, tmp_path: Path) -> None:
    zeros = repository.commit({"Dockerfile": DOCKERFILE, "zeros": bytes(3 << 20)})
    settings = Git.model_validate({"allow_file": True, "max_size": "1MiB"})
    async with (
        GitSource(settings, tmp_path / "mirrors", WAITS) as source,
        await source.fetch(an_app(str(repository.path)), zeros, "refs/heads/main", lines) as context,
    ):
        with pytest.raises(BuildFailed, match=r"the build context is larger than git\.max_size"):
            await tar_of(context)


async def test_added_files_take_the_place_of_what_the_commit_has_in_their_directory(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"y" * 700_001)
    files: dict[str, Content] = {
        "Dockerfile": DOCKERFILE,
        ".dockerignore": b"model/\n",
        "model/old": b"1",
        "modelling.py": b"2",
    }
    app = an_app(str(repository.path))
    async with await source.fetch(app, repository.commit(files), "refs/heads/main", lines) as context:
        context.add("model", {"MLmodel": b"flavors:\n", "data/large": tmp_path / "large"})
        tars = [await tar_of(context) for _ in range(2)]
    assert {name for name, member in tars[0].items() if member.isreg()} == {
        *("Dockerfile", ".dockerignore", "modelling.py", "model/MLmodel", "model/data/large"),
    }
    assert (tars[0]["model/data/large"].size, tars[0]["model/data/large"].mode) == (700_001, 0o644)
    assert {(member.uid, member.mtime) for member in tars[0].values()} == {(0, DATE)}
    assert tars[0].keys() == tars[1].keys()


async def test_an_added_file_that_has_gone_is_an_error_that_is_tried_again(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    async with await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines) as context:
        context.add("model", {"MLmodel": tmp_path / "gone"})
        with pytest.raises(Unavailable, match="model/MLmodel cannot be read: No such file or directory"):
            await tar_of(context)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": Link("/etc")}, "a in .* is no directory"),
        ({"a/model": b"a file"}, "a/model in .* is no directory"),
        ({"a/model/Dockerfile": DOCKERFILE}, "with the Dockerfile in it"),
    ],
)
async def test_nothing_is_added_behind_a_link_or_over_the_dockerfile(
    source: GitSource, repository: Repository, lines: Lines, files: dict[str, Content], message: str
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, **files})
    dockerfile = next((name for name in files if name.endswith("Dockerfile")), "Dockerfile")
    app = an_app(str(repository.path), build={"dockerfile": dockerfile})
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        with pytest.raises(BuildFailed, match=message):
            context.add("a/model", {"MLmodel": b""})
