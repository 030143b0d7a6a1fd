"""Credentials, redirects, refusals and ssh."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.source.diagnosis import Cause, diagnose
from deployd.source.remote import Remote
from deployd.source.source import GitSource
from tests.conftest import needed
from tests.source.repositories import Lines, Repository, Submodule, an_app
from tests.source.servers import Behaviour, a_git_server
from tests.source.ssh_server import SshServer, a_key, an_ssh_server

DOCKERFILE = b"FROM scratch\n"
TOKEN = "s3cr3t-t0ken"


def command_lines_and_files(directory: Path) -> str:
    """The argv of every process, which other users can read, and every file in the mirrors."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    found += [path.read_bytes().decode("latin-1") for path in directory.rglob("*") if path.is_file()]
    return "\n".join(found)


@pytest.mark.parametrize("secret", [TOKEN, f"deploy:{TOKEN}"])
async def test_a_token_gives_access_and_appears_in_no_argv_log_or_file(
    source: GitSource,
    repository: Repository,
    lines: Lines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", secret)
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    shown: list[str] = []
    behaviour = Behaviour(password=TOKEN, before=lambda _: shown.append(command_lines_and_files(tmp_path / "mirrors")))
    with a_git_server(repository.path.parent, behaviour) as url:
        app = an_app(f"{url}/iris.git", credentials="env:IRIS_TOKEN")
        async with await source.fetch(app, commit, "refs/heads/main", lines):
            pass
        assert await source.heads(app) == {"refs/heads/main": commit}
    assert shown
    assert not [text for text in (*shown, lines.text, command_lines_and_files(tmp_path / "mirrors")) if TOKEN in text]
    assert TOKEN in lines.hidden


@pytest.mark.parametrize("credentials", [None, "env:IRIS_TOKEN"])
async def test_a_wrong_or_missing_token_names_the_config_key(
    source: GitSource,
    repository: Repository,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    credentials: str | None,
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", "wr0ng")
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    behaviour = Behaviour(password=TOKEN)
    with a_git_server(repository.path.parent, behaviour) as url:
        app = an_app(f"{url}/iris.git", credentials=credentials)
        with pytest.raises(Unavailable, match="denies access") as refused:
            await source.fetch(app, commit, "refs/heads/main", lines)
    assert "app.iris.credentials" in refused.value.hint
    assert "wr0ng" not in refused.value.message
    assert "trying again" not in lines.text


async def test_a_secret_that_cannot_be_read_is_a_config_error(
    source: GitSource, repository: Repository, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IRIS_TOKEN", raising=False)
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    with pytest.raises(ConfigError, match=r"app\.iris\.credentials"):
        await source.fetch(an_app("http://127.0.0.1:9/x.git", credentials="env:IRIS_TOKEN"), commit, "main", lines)


async def test_a_redirect_does_not_send_the_token_to_another_host(
    source: GitSource, repository: Repository, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", TOKEN)
    repository.commit({"Dockerfile": DOCKERFILE})
    thief, mover = Behaviour(), Behaviour()
    with (
        a_git_server(repository.path.parent, thief) as stolen,
        a_git_server(repository.path.parent, mover) as url,
    ):
        mover.moved_to = stolen
        with pytest.raises(Unavailable, match="has moved") as moved:
            await source.heads(an_app(f"{url}/iris.git", credentials="env:IRIS_TOKEN"))
        assert "app.iris.repo" in moved.value.hint
        assert thief.seen == []
        assert await source.heads(an_app(f"{url}/iris.git"))


async def test_a_token_is_not_sent_to_the_host_of_a_submodule(
    source: GitSource, repository: Repository, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", TOKEN)
    other = Repository.create(repository.path.parent / "other.git")
    theirs = other.commit({"a": b"1"})
    thief = Behaviour()
    with (
        a_git_server(repository.path.parent, thief) as stolen,
        a_git_server(repository.path.parent, Behaviour(password=TOKEN)) as url,
    ):
        modules = f'[submodule "x"]\n\tpath = x\n\turl = {stolen}/other.git\n'.encode()
        commit = repository.commit({"Dockerfile": DOCKERFILE, ".gitmodules": modules, "x": Submodule(theirs)})
        app = an_app(f"{url}/iris.git", credentials="env:IRIS_TOKEN", build={"submodules": True})
        async with await source.fetch(app, commit, "refs/heads/main", lines):
            pass
    assert thief.seen
    assert set(thief.authorizations) == {None}


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "denies access"), (404, "does not exist"), (500, "does not answer"), (429, "does not answer")],
)
async def test_an_error_status_of_the_server_becomes_a_plain_message(
    source: GitSource, repository: Repository, status: int, words: str
) -> None:
    with a_git_server(repository.path.parent, Behaviour(status=status)) as url, pytest.raises(Unavailable, match=words):
        await source.heads(an_app(f"{url}/iris.git"))


async def test_a_closed_port_and_an_unknown_host_give_different_messages(source: GitSource) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="does not answer"):
        await source.heads(an_app(f"http://127.0.0.1:{port}/x.git"))
    unknown = diagnose("fatal: unable to access 'https://x.invalid/': Could not resolve host: x.invalid", "app.iris")
    assert (unknown.cause, unknown.hint) == (Cause.NETWORK, "check app.iris.repo and this machine's DNS")


async def test_a_local_submodule_needs_allow_file(repository: Repository, lines: Lines, tmp_path: Path) -> None:
    remote = Remote(str(repository.path), "app.iris", allow_file=False)
    with pytest.raises(BuildFailed, match="not allowed"):
        remote.submodule("file:///srv/other.git")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a repository")
async def test_a_configured_local_repository_may_belong_to_another_user(
    source: GitSource, repository: Repository, lines: Lines
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, 65534, 65534)
    for url in (str(repository.path), f"file://{repository.path}"):
        async with await source.fetch(an_app(url), commit, "refs/heads/main", lines):
            pass


@pytest.mark.parametrize(
    ("base", "relative", "url"),
    [
        ("https://example.com/acme/iris.git", "../lib.git", "https://example.com/acme/lib.git"),
        ("https://example.com/acme/iris.git/", "./lib.git", "https://example.com/acme/iris.git/lib.git"),
        ("https://example.com/acme/iris.git", "../../other/lib", "https://example.com/other/lib"),
        ("git@example.com:acme/iris.git", "../lib.git", "git@example.com:acme/lib.git"),
        ("git@example.com:iris.git", "../lib.git", "git@example.com:lib.git"),
        ("ssh://git@example.com/iris.git", "../lib.git", "ssh://git@example.com/lib.git"),
    ],
)
def test_relative_submodule_urls_resolve_as_in_git(base: str, relative: str, url: str) -> None:
    assert Remote(base, "app.iris").submodule(relative).url == url


def test_a_relative_submodule_url_above_the_host_is_refused() -> None:
    with pytest.raises(BuildFailed, match="above the root"):
        Remote("https://example.com/iris.git", "app.iris").submodule("../../../etc")


def test_output_of_git_is_shown_without_secrets_and_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", TOKEN)
    with Remote("https://example.com/x", "app.iris", credentials="env:IRIS_TOKEN").session(tmp_path) as session:
        shown = session.clean(f"fatal: \x1b[31m{TOKEN}\x1b[0m at https://me:pw@example.com/x\r\nnext")
    assert shown == "fatal: [31m***[0m at https://***@example.com/x\nnext"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    """A real OpenSSH server."""
    with ExitStack() as stack:
        yield needed(lambda: stack.enter_context(an_ssh_server(tmp_path / "ssh")))


@pytest.mark.slow
async def test_a_deploy_key_gives_access_over_ssh(
    source: GitSource,
    repository: Repository,
    lines: Lines,
    ssh_server: SshServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = repository.commit({"Dockerfile": DOCKERFILE})
    monkeypatch.setenv("IRIS_KEY", ssh_server.user_key.rstrip("\n"))
    monkeypatch.setenv("IRIS_HOSTS", ssh_server.host_key)
    url = ssh_server.url(repository.path)
    strict = an_app(url, ssh_key="env:IRIS_KEY", known_hosts="env:IRIS_HOSTS")
    async with await source.fetch(strict, commit, "refs/heads/main", lines) as context:
        assert await context.read("Dockerfile") == DOCKERFILE
    assert not (tmp_path / "mirrors/known_hosts").exists()

    trusting = an_app(url, ssh_key="env:IRIS_KEY")
    assert await source.heads(trusting) == {"refs/heads/main": commit}
    assert f"[127.0.0.1]:{ssh_server.port}" in (tmp_path / "mirrors/known_hosts").read_text()

    monkeypatch.setenv("IRIS_HOSTS", ssh_server.host_key.rstrip()[:-6] + "AAAAAA\n")
    with pytest.raises(Unavailable, match="host key") as unknown:
        await source.heads(strict)
    assert "app.iris.known_hosts" in unknown.value.hint
    assert not list((tmp_path / "mirrors").glob("session-*"))
    assert ssh_server.user_key.splitlines()[1] not in command_lines_and_files(tmp_path / "mirrors")


@pytest.mark.slow
async def test_an_ssh_key_that_the_server_refuses_names_the_config_key(
    source: GitSource, repository: Repository, ssh_server: SshServer, tmp_path: Path
) -> None:
    other = a_key(tmp_path / "other")
    app = an_app(ssh_server.url(repository.path), ssh_key=f"file:{other}")
    with pytest.raises(Unavailable, match="denies access") as refused:
        await asyncio.wait_for(source.heads(app), 30)
    assert "app.iris.ssh_key" in refused.value.hint
