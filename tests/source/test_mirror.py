"""Mirrors: damage, limits, growth, and remotes that fail."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployd.config.daemon import Git
from deployd.errors import BuildFailed, Unavailable
from deployd.source.source import GitSource
from tests.source.conftest import SETTINGS, WAITS
from tests.source.repositories import Lines, Repository, an_app
from tests.source.servers import Behaviour, a_git_server

DOCKERFILE = b"FROM scratch\n"


def mirror_in(directory: Path) -> Path:
    (found,) = directory.glob("*.git")
    return found


def packs(directory: Path) -> list[Path]:
    return sorted((mirror_in(directory) / "objects/pack").glob("*.pack"))


def processes_that_name(text: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in command and int(process.name) != os.getpid():
            found.append(process.name)
    return found


async def fetched(source: GitSource, repository: Repository | str, commit: str, lines: Lines) -> int:
    """Fetch a commit and read its whole context; return its size."""
    url = repository if isinstance(repository, str) else str(repository.path)
    async with await source.fetch(an_app(url), commit, "refs/heads/main", lines) as context:
        return sum([len(piece) async for piece in context.tar()])


async def test_a_fetched_commit_needs_no_second_request(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    behaviour = Behaviour()
    with a_git_server(repository.path.parent, behaviour) as url:
        await fetched(source, f"{url}/iris.git", commit, lines)
        asked = len(behaviour.seen)
        await fetched(source, f"{url}/iris.git", commit, lines)
    assert asked
    assert len(behaviour.seen) == asked


async def test_a_second_commit_transfers_only_what_changed(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    ballast = {f"data/{n}": os.urandom(20_000) for n in range(20)}
    await fetched(source, repository, repository.commit({"Dockerfile": DOCKERFILE, **ballast}), lines)
    before = {pack.name for pack in packs(tmp_path / "mirrors")}
    await fetched(source, repository, repository.commit({"Dockerfile": DOCKERFILE, **ballast, "new": b"1"}), lines)
    (fresh,) = [pack for pack in packs(tmp_path / "mirrors") if pack.name not in before]
    assert fresh.stat().st_size < 10_000


async def test_two_apps_of_one_repository_share_its_mirror(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    apps = [an_app(str(repository.path), name=name) for name in ("one", "two")]
    contexts = await asyncio.gather(*(source.fetch(app, commit, "refs/heads/main", lines) for app in apps))
    for context in contexts:
        async with context:
            assert await context.read("Dockerfile") == DOCKERFILE
    assert lines.text.count("Fetched") == 1
    assert "remotes-iris-" in mirror_in(tmp_path / "mirrors").name


@pytest.mark.parametrize("damage", ["truncate", "delete", "empty", "garbage"])
async def test_a_damaged_mirror_is_created_again(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path, damage: str
) -> None:
    files = {"Dockerfile": DOCKERFILE, "data": os.urandom(100_000)}
    first = repository.commit(files)
    size = await fetched(source, repository, first, lines)
    (pack,) = packs(tmp_path / "mirrors")
    pack.chmod(0o644)
    match damage:
        case "truncate":
            os.truncate(pack, pack.stat().st_size // 2)
        case "delete":
            pack.unlink()
        case "empty":
            pack.write_bytes(b"")
        case _:
            pack.write_bytes(os.urandom(pack.stat().st_size))
    assert await fetched(source, repository, first, lines) == size
    second = repository.commit({**files, "more": b"1"})
    assert await fetched(source, repository, second, lines) > size
    assert "created again" in lines.text


@pytest.mark.slow
async def test_damage_that_is_found_while_the_tar_is_read_is_repaired_by_the_next_fetch(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(3_000_000)})
    app = an_app(str(repository.path))
    context = await source.fetch(app, commit, "refs/heads/main", lines)
    (pack,) = packs(tmp_path / "mirrors")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(1_500_000)
        file.write(bytes(100))
    async with context:
        with pytest.raises(Unavailable, match="damaged"):
            assert [piece async for piece in context.tar()]
    assert await fetched(source, repository, commit, lines) > 3_000_000


async def test_damage_in_the_dockerfile_is_repaired_by_the_next_fetch(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": os.urandom(1_000_000)})
    await fetched(source, repository, commit, lines)
    (pack,) = packs(tmp_path / "mirrors")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(500_000)
        file.write(bytes(100))
    with pytest.raises(Unavailable, match="damaged"):
        await fetched(source, repository, commit, lines)
    assert await fetched(source, repository, commit, lines) > 1_000_000


@pytest.mark.parametrize("damage", ["HEAD", "objects", "config"])
async def test_a_directory_that_is_no_valid_mirror_is_replaced(
    repository: Repository, lines: Lines, tmp_path: Path, damage: str
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as source:
        await fetched(source, repository, commit, lines)
    damaged = mirror_in(tmp_path / "mirrors") / damage
    if damaged.is_dir():
        damaged.rename(tmp_path / "gone")
    else:
        damaged.write_bytes(b"\0[[[")
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as source:
        assert await fetched(source, repository, commit, lines)


async def test_lock_files_and_half_packs_of_a_killed_git_are_removed(
    repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as source:
        await fetched(source, repository, repository.commit({"Dockerfile": DOCKERFILE}), lines)
    mirror = mirror_in(tmp_path / "mirrors")
    stale = [mirror / name for name in ("shallow.lock", "HEAD.lock", "packed-refs.lock", "objects/pack/tmp_pack_abc")]
    for path in stale:
        path.write_bytes(b"x")
    async with GitSource(SETTINGS, tmp_path / "mirrors", WAITS) as source:
        await fetched(source, repository, repository.commit({"Dockerfile": DOCKERFILE, "a": b"2"}), lines)
    assert not [path for path in stale if path.exists()]
    assert "created again" not in lines.text


@pytest.mark.slow
async def test_a_mirror_keeps_few_packs_few_commits_and_those_in_use(
    source: GitSource, repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commits = [repository.commit({"Dockerfile": DOCKERFILE, "n": b"%d" % n}) for n in range(30)]
    app = an_app(str(repository.path))
    held = await source.fetch(app, commits[0], "refs/heads/main", lines)
    for commit in commits[1:]:
        await fetched(source, repository, commit, lines)
    mirror = source._mirror(str(repository.path), 40)
    kept = await mirror.commits()
    assert kept[-19:] == commits[-19:]
    assert commits[0] in kept
    assert len(kept) <= 21
    if mirror._tidying is not None:
        await asyncio.wait({mirror._tidying})
    assert len(packs(tmp_path / "mirrors")) < 26
    async with held:
        assert await held.read("n") == b"0"
    assert await fetched(source, repository, commits[5], lines)


async def test_a_fetch_waits_for_a_commit_that_appears_late(
    repository: Repository, source: GitSource, lines: Lines
) -> None:
    first = repository.commit({"Dockerfile": DOCKERFILE})
    late: list[str] = []

    def push(_: int) -> None:
        if "trying again" in lines.text and lines.text.count("trying again") == 2 and not late:
            late.append(repository.commit({"Dockerfile": DOCKERFILE, "late": b"1"}, date=1_700_000_777))

    probe = Repository.create(repository.path.parent / "probe.git")
    probe.git("fetch", "-q", str(repository.path), first)
    probe.git("update-ref", "refs/heads/main", first)
    expected = probe.commit({"Dockerfile": DOCKERFILE, "late": b"1"}, date=1_700_000_777)
    with a_git_server(repository.path.parent, Behaviour(before=push)) as url:
        assert await fetched(source, f"{url}/iris.git", expected, lines)
    assert late == [expected]
    assert lines.text.count("the remote does not have the commit") == 2


async def test_a_commit_that_never_appears_fails_the_build_with_the_reason(
    repository: Repository, source: GitSource, lines: Lines
) -> None:
    repository.commit({"Dockerfile": DOCKERFILE})
    with pytest.raises(BuildFailed, match="the remote does not have the commit") as failed:
        await fetched(source, repository, "1" * 40, lines)
    assert "forced push" in failed.value.hint
    assert lines.text.count("trying again") == len(WAITS)


@pytest.mark.slow
async def test_an_older_commit_of_the_branch_is_fetched_from_a_server_that_sends_only_its_refs(
    repository: Repository, source: GitSource, lines: Lines
) -> None:
    old = repository.commit({"Dockerfile": DOCKERFILE, "n": b"1"})
    for n in range(5):
        repository.commit({"Dockerfile": DOCKERFILE, "n": b"%d" % n})
    with a_git_server(repository.path.parent, Behaviour(old_protocol=True)) as url:
        assert await fetched(source, f"{url}/iris.git", old, lines)
        with pytest.raises(BuildFailed, match="sends only its refs"):
            await fetched(source, f"{url}/iris.git", "1" * 40, lines)


async def test_a_tagged_commit_is_fetched_from_a_server_that_sends_only_its_refs(
    repository: Repository, source: GitSource, lines: Lines
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE}, branch=None)
    repository.git("tag", "-a", "-m", "First", "v1", commit)
    with a_git_server(repository.path.parent, Behaviour(old_protocol=True)) as url:
        app = an_app(f"{url}/iris.git", tag="v*")
        async with await source.fetch(app, commit, "refs/tags/v1", lines) as context:
            assert await context.read("Dockerfile") == DOCKERFILE


async def test_an_object_that_is_no_commit_is_refused(repository: Repository, source: GitSource, lines: Lines) -> None:
    repository.commit({"Dockerfile": DOCKERFILE})
    tree = repository.git("rev-parse", "main^{tree}")
    with pytest.raises(BuildFailed, match="is a tree, not a commit"):
        await fetched(source, repository, tree, lines)


async def test_a_broken_transfer_is_tried_again(repository: Repository, source: GitSource, lines: Lines) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(300_000)})
    behaviour = Behaviour(truncate=True)

    def repair(_: int) -> None:
        behaviour.truncate = "trying again" not in lines.text

    behaviour.before = repair
    with a_git_server(repository.path.parent, behaviour) as url:
        assert await fetched(source, f"{url}/iris.git", commit, lines) > 300_000
    assert lines.text.count("trying again") == 1


async def test_a_transfer_that_always_breaks_is_unavailable_and_leaves_no_files(
    repository: Repository, source: GitSource, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(300_000)})
    with a_git_server(repository.path.parent, Behaviour(truncate=True)) as url, pytest.raises(Unavailable):
        await fetched(source, f"{url}/iris.git", commit, lines)
    assert not list((mirror_in(tmp_path / "mirrors") / "objects/pack").iterdir())


@pytest.mark.slow
async def test_a_remote_that_hangs_is_unavailable_after_the_timeout_and_leaves_no_process(
    repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    settings = Git.model_validate({"timeout": "1s"})
    with a_git_server(repository.path.parent, Behaviour(hang=True)) as url:
        async with GitSource(settings, tmp_path / "mirrors", WAITS) as source:
            for asked in (source.heads(an_app(f"{url}/x.git")), fetched(source, f"{url}/x.git", commit, lines)):
                started = time.monotonic()
                with pytest.raises(Unavailable, match="did not end within 1 s"):
                    await asked
                assert time.monotonic() - started < 10
            assert processes_that_name(f"{url}/x.git") == []


async def test_a_cancelled_fetch_leaves_no_process(
    repository: Repository, source: GitSource, lines: Lines, tmp_path: Path
) -> None:
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def arrive(_: int) -> None:
        loop.call_soon_threadsafe(arrived.set)

    behaviour = Behaviour(hang=True, before=arrive)
    with a_git_server(repository.path.parent, behaviour) as url:
        task = asyncio.create_task(fetched(source, f"{url}/x.git", "1" * 40, lines))
        await arrived.wait()
        assert processes_that_name(f"{url}/x.git")
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 5
        assert processes_that_name(f"{url}/x.git") == []
    assert not list((tmp_path / "mirrors").glob("session-*"))
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    assert await fetched(source, repository, commit, lines)


async def test_a_killed_fetch_is_tried_again(
    repository: Repository, source: GitSource, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(300_000)})
    killed: list[str] = []

    def kill(number: int) -> None:
        if number == 2:
            for process in processes_that_name(str(tmp_path / "mirrors")):
                killed.append(process)
                os.kill(int(process), signal.SIGKILL)

    with a_git_server(repository.path.parent, Behaviour(before=kill)) as url:
        assert await fetched(source, f"{url}/iris.git", commit, lines) > 300_000
    assert killed
    assert lines.text.count("Fetched") == 1


async def test_the_fetch_of_a_repository_above_the_size_limit_is_stopped(
    repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(2_000_000)})
    settings = Git.model_validate({"allow_file": True, "max_size": "1MiB"})
    async with GitSource(settings, tmp_path / "mirrors", WAITS) as source:
        with pytest.raises(BuildFailed, match=r"larger than git\.max_size"):
            await fetched(source, repository, commit, lines)
        small = repository.commit({"Dockerfile": DOCKERFILE})
        assert await fetched(source, repository, small, lines)


@pytest.mark.slow
async def test_a_mirror_that_has_grown_too_large_is_created_again(
    repository: Repository, lines: Lines, tmp_path: Path
) -> None:
    settings = Git.model_validate({"allow_file": True, "max_size": "1MiB"})
    async with GitSource(settings, tmp_path / "mirrors", WAITS) as source:
        for _ in range(4):
            commit = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(600_000)})
            assert await fetched(source, repository, commit, lines) > 600_000
    assert sum(pack.stat().st_size for pack in packs(tmp_path / "mirrors")) < 1 << 20


async def test_a_state_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="the git mirrors cannot be written"):
        async with GitSource(SETTINGS, tmp_path / "file" / "mirrors", WAITS):
            pass


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_after_a_full_disk_the_mirror_is_still_used(repository: Repository, lines: Lines, tmp_path: Path) -> None:
    small = repository.commit({"Dockerfile": DOCKERFILE})
    large = repository.commit({"Dockerfile": DOCKERFILE, "data": os.urandom(3_000_000)})
    with a_small_disk(tmp_path / "disk") as disk:
        async with GitSource(SETTINGS, disk / "mirrors", WAITS) as source:
            await fetched(source, repository, small, lines)
            with pytest.raises(Unavailable) as full:
                await fetched(source, repository, large, lines)
            assert "server.state_dir" in full.value.hint
            (disk / "ballast").unlink()
            assert await fetched(source, repository, large, lines) > 3_000_000
    assert "created again" not in lines.text


@contextmanager
def a_small_disk(path: Path) -> Iterator[Path]:
    """Room for a mirror, and for 3 MB more once the ballast is gone."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)], check=False, stderr=subprocess.DEVNULL
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted on this machine")
    try:
        (path / "ballast").write_bytes(bytes(4 << 20))
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
