"""Whether a head contains a commit, over real git."""

import os
from pathlib import Path

import pytest

from deployd.config.daemon import Git
from deployd.goal import Head
from deployd.source.source import GitSource
from tests.source.conftest import SETTINGS, WAITS
from tests.source.repositories import Repository, an_app
from tests.source.servers import Behaviour, a_git_server

MAIN = "refs/heads/main"


def _line(repository: Repository, length: int) -> list[str]:
    """So many commits on main, oldest first."""
    return [repository.commit({"a": str(number).encode()}) for number in range(length)]


@pytest.fixture(params=["true", "false"], ids=["filtering", "not filtering"])
def remote(request: pytest.FixtureRequest, repository: Repository) -> Repository:
    """A remote that leaves out files when it is asked to, and one that cannot."""
    repository.git("config", "uploadpack.allowFilter", request.param)
    return repository


async def test_a_head_contains_itself_and_what_led_to_it(source: GitSource, remote: Repository) -> None:
    first, second, third = _line(remote, 3)
    app = an_app(str(remote.path))
    assert [await source.contains(app, Head(MAIN, third), commit) for commit in (first, second, third)] == [True] * 3


async def test_a_head_contains_both_sides_of_a_merge(source: GitSource, remote: Repository) -> None:
    (base,) = _line(remote, 1)
    side = remote.commit({"b": b"1"}, branch="side")
    tree = remote.git("rev-parse", f"{base}^{{tree}}")
    merge = remote.git("commit-tree", tree, "-p", base, "-p", side, "-m", "Merge")
    remote.git("update-ref", MAIN, merge)
    assert await source.contains(an_app(str(remote.path)), Head(MAIN, merge), side)


async def test_a_head_does_not_contain_a_commit_of_another_branch(source: GitSource, remote: Repository) -> None:
    *_, head = _line(remote, 2)
    other = remote.commit({"b": b"1"}, branch="other")
    assert not await source.contains(an_app(str(remote.path)), Head(MAIN, head), other)


async def test_a_head_does_not_contain_what_came_after_it(source: GitSource, remote: Repository) -> None:
    first, second, third = _line(remote, 3)
    app = an_app(str(remote.path))
    assert not await source.contains(app, Head(MAIN, second), third)
    assert await source.contains(app, Head(MAIN, second), first)


@pytest.mark.parametrize("commit", ["f" * 40, "0" * 40, "f" * 64, "", "main", "--all", "A" * 40])
async def test_a_commit_that_does_not_exist_is_in_no_head(source: GitSource, remote: Repository, commit: str) -> None:
    (head,) = _line(remote, 1)
    assert not await source.contains(an_app(str(remote.path)), Head(MAIN, head), commit)


async def test_a_head_that_was_forced_away_contains_nothing(source: GitSource, remote: Repository) -> None:
    first, second = _line(remote, 2)
    remote.git("update-ref", MAIN, remote.commit({"b": b"1"}, branch=None))
    assert not await source.contains(an_app(str(remote.path)), Head(MAIN, second), first)


@pytest.mark.parametrize("annotated", [True, False], ids=["annotated", "plain"])
async def test_a_tag_is_a_head_too(source: GitSource, remote: Repository, annotated: bool) -> None:
    first, second = _line(remote, 2)
    remote.git("tag", *(("-a", "-m", "First") if annotated else ()), "v1", second)
    app = an_app(str(remote.path), tag="v*")
    assert await source.contains(app, Head("refs/tags/v1", second), first)


async def test_only_the_last_commits_are_searched(
    source: GitSource, remote: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.source.ancestry._SEARCHED", 2)
    first, second, third = _line(remote, 3)
    app = an_app(str(remote.path))
    assert await source.contains(app, Head(MAIN, third), second)
    assert not await source.contains(app, Head(MAIN, third), first)


async def test_a_repository_of_sha256_names_is_searched_the_same(source: GitSource, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "modern.git", "--object-format=sha256")
    first, second = _line(repository, 2)
    app = an_app(str(repository.path))
    assert await source.contains(app, Head(MAIN, second), first)
    assert not await source.contains(app, Head(MAIN, second), "f" * 64)


async def test_a_remote_that_is_away_says_no(source: GitSource, tmp_path: Path) -> None:
    assert not await source.contains(an_app(str(tmp_path / "nowhere.git")), Head(MAIN, "a" * 40), "b" * 40)


async def test_a_remote_whose_history_is_too_large_says_no(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"a": os.urandom(3 << 20)})
    second = repository.commit({"a": b"1"})
    settings = Git.model_validate({"allow_file": True, "max_size": "1MiB"})
    async with GitSource(settings, tmp_path / "mirrors", WAITS) as source:
        assert not await source.contains(an_app(str(repository.path)), Head(MAIN, second), first)
        assert list((tmp_path / "mirrors").iterdir()) == []


@pytest.mark.slow
async def test_a_remote_that_does_not_answer_in_time_says_no(repository: Repository, tmp_path: Path) -> None:
    first, second = _line(repository, 2)
    settings = Git.model_validate({"allow_file": True, "timeout": "1s"})
    with a_git_server(repository.path.parent, Behaviour(hang=True)) as url:
        async with GitSource(settings, tmp_path / "mirrors", WAITS) as source:
            assert not await source.contains(an_app(f"{url}/iris.git"), Head(MAIN, second), first)


@pytest.mark.parametrize("old_protocol", [True, False], ids=["v0", "v2"])
async def test_a_remote_is_asked_over_http_with_its_credentials(
    source: GitSource, remote: Repository, monkeypatch: pytest.MonkeyPatch, old_protocol: bool
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", "s3cr3t-t0ken")
    first, second = _line(remote, 2)
    with a_git_server(remote.path.parent, Behaviour(password="s3cr3t-t0ken", old_protocol=old_protocol)) as url:
        app = an_app(f"{url}/iris.git", credentials="env:IRIS_TOKEN")
        assert await source.contains(app, Head(MAIN, second), first)
        assert not await source.contains(app, Head(MAIN, second), "f" * 40)


async def test_a_commit_that_is_not_in_the_head_is_not_fetched_to_find_that_out(
    source: GitSource, remote: Repository
) -> None:
    *_, head = _line(remote, 2)
    other = remote.commit({"b": b"1"}, branch="other")
    behaviour = Behaviour()
    with a_git_server(remote.path.parent, behaviour) as url:
        app = an_app(f"{url}/iris.git")
        assert await source.contains(app, Head(MAIN, head), head)
        once = len(behaviour.seen)
        assert not await source.contains(app, Head(MAIN, head), other)
    assert len(behaviour.seen) == 2 * once


async def test_nothing_is_left_behind_and_no_mirror_grows(remote: Repository, tmp_path: Path) -> None:
    first, second = _line(remote, 2)
    app = an_app(str(remote.path))
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as source:
        for commit in (first, "f" * 40):
            await source.contains(app, Head(MAIN, second), commit)
            assert list((tmp_path / "mirrors").iterdir()) == []
