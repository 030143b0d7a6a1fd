"""Heads, commits, contexts and names of real git repositories."""

import asyncio
import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from deployd.config.daemon import Git
from deployd.domain import Head
from deployd.errors import BuildFailed, RequestRefused, Unavailable
from deployd.ports import Context, Source
from deployd.source.source import GitSource
from tests.source.conftest import SETTINGS, WAITS
from tests.source.repositories import DATE, Content, Lines, Link, Program, Repository, an_app
from tests.source.servers import Behaviour, a_git_server

DOCKERFILE = b"FROM scratch\n"


async def tar_of(context: Context) -> dict[str, tarfile.TarInfo]:
    data = b"".join([piece async for piece in context.tar()])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def test_a_git_source_implements_the_port(tmp_path: Path) -> None:
    port: Source = GitSource(SETTINGS, tmp_path)
    assert port.heads.__doc__


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


async def test_heads_are_those_that_the_app_watches(source: GitSource, repository: Repository) -> None:
    main = repository.commit({"a": b"1"})
    repository.commit({"a": b"2"}, branch="other")
    repository.git("update-ref", "refs/heads/refs/heads/main", main)
    assert await source.heads(an_app(str(repository.path))) == {"refs/heads/main": main}


async def test_the_head_of_an_annotated_tag_is_its_commit(source: GitSource, repository: Repository) -> None:
    commit = repository.commit({"a": b"1"})
    repository.git("tag", "-a", "-m", "First", "v1", commit)
    repository.git("tag", "v2", commit)
    repository.git("tag", "x1", commit)
    app = an_app(str(repository.path), tag="v*")
    assert await source.heads(app) == {"refs/tags/v1": commit, "refs/tags/v2": commit}


async def test_apps_that_ask_for_one_repository_at_the_same_time_share_one_request(
    repository: Repository, source: GitSource
) -> None:
    commit = repository.commit({"a": b"1"})
    behaviour = Behaviour()
    with a_git_server(repository.path.parent, behaviour) as url:
        apps = [an_app(f"{url}/iris.git", name=f"app{n}") for n in range(20)]
        answers = await asyncio.gather(*(source.heads(app) for app in apps))
        asked = len(behaviour.seen)
        await source.heads(apps[0])
    assert answers == [{"refs/heads/main": commit}] * 20
    assert len(behaviour.seen) == 2 * asked


async def test_a_cancelled_caller_does_not_cancel_the_shared_request(repository: Repository, source: GitSource) -> None:
    commit = repository.commit({"a": b"1"})
    app = an_app(str(repository.path))
    first, second = asyncio.create_task(source.heads(app)), asyncio.create_task(source.heads(app))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"refs/heads/main": commit}
    with pytest.raises(asyncio.CancelledError):
        await first
    alone = asyncio.create_task(source.heads(app))
    await asyncio.sleep(0)
    alone.cancel()
    again = asyncio.create_task(source.heads(app))
    assert await again == {"refs/heads/main": commit}


async def test_a_person_may_name_a_branch_a_tag_and_a_full_or_short_commit(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    old = repository.commit({"Dockerfile": DOCKERFILE})
    commit = repository.commit({"Dockerfile": DOCKERFILE, "a": b"2"})
    repository.git("tag", "-a", "-m", "First", "v1", commit)
    app = an_app(str(repository.path))
    names = ("main", "refs/heads/main", "v1", commit, commit.upper(), commit[:7])
    assert {name: await source.resolve(app, name) for name in names} == dict.fromkeys(names, commit)
    assert await source.resolve(app, old) == old
    assert await source.resolve(app, old[:9]) == old


@pytest.mark.parametrize("name", ["gone", "0" * 40, "beef", "--upload-pack=x", "", "main; id", "m*", "🐸"])
async def test_an_unknown_name_is_not_found(source: GitSource, repository: Repository, name: str) -> None:
    repository.commit({"a": b"1"})
    with pytest.raises(RequestRefused) as refused:
        await source.resolve(an_app(str(repository.path)), name)
    assert refused.value.status == 404


async def test_facts_are_the_whole_message_and_one_clean_line_each_of_subject_and_author(
    source: GitSource, repository: Repository
) -> None:
    subject = "Fix \x1b[31mred\x1b[0m \u202eevil\u2069 " + "x" * 300 + "\n\nBody"
    commit = repository.commit({"Dockerfile": DOCKERFILE}, subject=subject, author="Eve\u200b \x07 O'Neil")
    facts = await source.facts(an_app(str(repository.path)), Head("refs/heads/main", commit))
    assert facts.subject.startswith("Fix [31mred [0m evil xxx")
    assert (len(facts.subject), facts.author) == (200, "Eve O'Neil")
    assert facts.message.rstrip() == subject


async def test_facts_of_a_commit_that_cannot_be_fetched_are_refused(
    source: GitSource, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": b"1"})
    head = Head("refs/heads/main", "f" * 40)
    with pytest.raises(BuildFailed):
        await source.facts(an_app(str(repository.path)), head)
    with pytest.raises(Unavailable):
        await source.facts(an_app(str(tmp_path / "nowhere.git")), head)


async def test_the_paths_that_differ_between_two_commits_are_listed(source: GitSource, repository: Repository) -> None:
    first = repository.commit({"a": b"1", "kept": b"k", "moved": b"the same"})
    second = repository.commit({"a": b"2", "kept": b"k", "d/ü\n": b"new", "there": b"the same"})
    app = an_app(str(repository.path))
    assert await source.changed(app, first, second) == frozenset({"a", "d/ü\n", "moved", "there"})
    assert await source.changed(app, second, second) == frozenset()
    assert await source.changed(app, "0" * 39 + "1", second) is None
    assert await source.changed(app, "f" * 64, second) is None


async def test_ping_needs_the_remote_and_the_branch(source: GitSource, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a": b"1"})
    await source.ping(an_app(str(repository.path)))
    with pytest.raises(Unavailable, match="has no refs/heads/release"):
        await source.ping(an_app(str(repository.path), branch="release"))
    with pytest.raises(Unavailable, match="the repository does not exist"):
        await source.ping(an_app(str(tmp_path / "nowhere.git")))


@pytest.mark.parametrize("commit", ["main", "", "--upload-pack=touch x", "g" * 40, "A" * 40, "0" * 41])
async def test_only_full_commit_names_are_fetched(
    source: GitSource, repository: Repository, commit: str, lines: Lines
) -> None:
    repository.commit({"a": b"1"})
    with pytest.raises(BuildFailed, match="is not a full commit SHA"):
        await source.fetch(an_app(str(repository.path)), commit, "refs/heads/main", lines)


async def test_a_repository_with_sha256_names_works_the_same(source: GitSource, tmp_path: Path, lines: Lines) -> None:
    repository = Repository.create(tmp_path / "sha256.git", "--object-format=sha256")
    commit = repository.commit({"Dockerfile": DOCKERFILE, "a": b"1"})
    app = an_app(str(repository.path))
    assert len(commit) == 64
    assert await source.resolve(app, "main") == commit
    async with await source.fetch(app, commit, "refs/heads/main", lines) as context:
        assert set(await tar_of(context)) == {"Dockerfile", "a"}


async def test_a_start_removes_what_a_killed_daemon_left_and_keeps_the_mirrors(
    tmp_path: Path, repository: Repository, lines: Lines
) -> None:
    commit, app = repository.commit({"Dockerfile": DOCKERFILE}), an_app(str(repository.path))
    directory = tmp_path / "mirrors"
    for name in ("session-abc", "new-abc", "old-abc"):
        (directory / name / "inner").mkdir(parents=True)
    for _ in range(2):
        async with GitSource(SETTINGS, directory, WAITS) as source, await source.fetch(app, commit, "main", lines):
            pass
    assert [path.suffix for path in directory.iterdir()] == [".git"]
    assert lines.text.count("Fetched") == 1


async def test_a_mirror_that_was_not_used_for_a_month_is_removed_at_the_start(
    tmp_path: Path, repository: Repository, lines: Lines
) -> None:
    commit, app = repository.commit({"Dockerfile": DOCKERFILE}), an_app(str(repository.path))
    directory = tmp_path / "mirrors"
    for days, left in ((29, 1), (31, 0)):
        async with GitSource(SETTINGS, directory, WAITS) as source, await source.fetch(app, commit, "main", lines):
            pass
        (mirror,) = directory.glob("*.git")
        long_ago = time.time() - days * 86400
        for path in (mirror, *mirror.rglob("*")):
            os.utime(path, (long_ago, long_ago))
        async with GitSource(SETTINGS, directory, WAITS):
            assert len(list(directory.glob("*.git"))) == left
