"""Heads, names and facts of real git repositories, and the mirrors between two starts."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from deployd.errors import BuildFailed, RequestRefused, Unavailable
from deployd.goal import Head
from deployd.ports.source import Source
from deployd.source.source import GitSource
from tests.source.conftest import SETTINGS, WAITS
from tests.source.repositories import Lines, Repository, an_app, tar_of
from tests.source.servers import Behaviour, a_git_server

DOCKERFILE = b"FROM scratch\n"


def test_a_git_source_implements_the_port(tmp_path: Path) -> None:
    port: Source = GitSource(SETTINGS, tmp_path)
    assert port.heads.__doc__


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
