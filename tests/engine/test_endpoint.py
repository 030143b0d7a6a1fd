import errno
import hashlib
import json
import socket
import ssl
from pathlib import Path

import pytest

from deployd.engine import endpoint as module
from deployd.engine.client import EngineClient
from deployd.engine.endpoint import endpoint, settle
from deployd.errors import ConfigError

_VARIABLES = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any engine."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(module, "USUAL", tmp_path / "docker.sock")
    return tmp_path


def listen(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def choose(config: Path, name: str) -> None:
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.json").write_text(json.dumps({"currentContext": name, "auths": {}}))


def add_context(config: Path, name: str, host: str, **more: object) -> Path:
    """The directory for its certificates."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts/meta" / key
    meta.mkdir(parents=True)
    described = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False, **more}}}
    (meta / "meta.json").write_text(json.dumps(described))
    return config / "contexts/tls" / key / "docker"


def test_docker_host_comes_before_every_context(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_context(home / ".docker", "colima", "unix:///colima.sock")
    choose(home / ".docker", "colima")
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    assert (endpoint().url, endpoint().rule) == ("unix:///run/docker.sock", "DOCKER_HOST")


def test_docker_context_comes_before_the_current_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_context(home / ".docker", "colima", "unix:///colima.sock")
    add_context(home / ".docker", "desktop-linux", "unix:///desktop.sock")
    choose(home / ".docker", "desktop-linux")
    assert endpoint().url == "unix:///desktop.sock"
    assert endpoint().rule == f"the docker context desktop-linux, which {home}/.docker/config.json names"
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")
    assert endpoint().url == "unix:///colima.sock"
    assert endpoint().rule == "the docker context colima, which DOCKER_CONTEXT names"


def test_the_default_context_is_the_usual_socket(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen(module.USUAL)
    choose(home / ".docker", "default")
    assert (endpoint().url, endpoint().rule) == (f"unix://{home}/docker.sock", "the usual socket")
    add_context(home / ".docker", "colima", "unix:///colima.sock")
    choose(home / ".docker", "colima")
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert endpoint().rule == "the usual socket"


def test_contexts_are_where_docker_config_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen(module.USUAL)
    elsewhere = home / "elsewhere"
    monkeypatch.setenv("DOCKER_CONFIG", str(elsewhere))
    choose(home / ".docker", "colima")
    assert endpoint().rule == "the usual socket"
    add_context(elsewhere, "rootless", "unix:///run/user/1000/docker.sock")
    choose(elsewhere, "rootless")
    assert endpoint().url == "unix:///run/user/1000/docker.sock"


def test_an_empty_docker_host_names_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "")
    add_context(home / ".docker", "colima", "unix:///colima.sock")
    choose(home / ".docker", "colima")
    assert endpoint().url == "unix:///colima.sock"


def test_a_context_that_does_not_exist_is_no_other_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen(module.USUAL)
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(ConfigError, match="the docker context gone, which DOCKER_CONTEXT names, does not exist"):
        endpoint()


def test_without_an_engine_the_hint_names_a_socket_that_is_there(home: Path) -> None:
    with pytest.raises(ConfigError, match="no Docker Engine was found") as refused:
        endpoint()
    assert "DOCKER_HOST" in refused.value.hint
    listen(home / ".colima/default/docker.sock")
    with pytest.raises(ConfigError) as refused:
        endpoint()
    assert refused.value.hint == f"DOCKER_HOST=unix://{home}/.colima/default/docker.sock names the one that is there"


@pytest.mark.parametrize(
    "url", ["ssh://me@host", "npipe:////./pipe/docker_engine", "docker.example.com:2375", "nonsense"]
)
def test_an_engine_that_deployd_cannot_speak_to_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(ConfigError, match="DOCKER_HOST names the engine") as refused:
        endpoint()
    assert "a socket of this machine" in refused.value.hint


def test_a_config_directory_that_cannot_be_read_names_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen(module.USUAL)
    (home / "file").touch()
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "file"))
    assert endpoint().rule == "the usual socket"


def test_a_config_of_the_docker_client_that_is_no_json_is_a_fault(home: Path) -> None:
    listen(module.USUAL)
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        endpoint()


def test_a_context_with_certificates_is_encrypted(home: Path) -> None:
    keys = add_context(home / ".docker", "prod", "tcp://10.0.0.7:2376", SkipTLSVerify=True)
    choose(home / ".docker", "prod")
    assert (endpoint().url, endpoint().tls) == ("tcp://10.0.0.7:2376", None)
    keys.mkdir(parents=True)
    found = endpoint()
    assert found.url == "https://10.0.0.7:2376"
    assert found.tls is not None
    assert found.tls.verify_mode == ssl.CERT_NONE
    (keys / "ca.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match="the certificates in"):
        endpoint()


async def test_the_daemon_stays_with_the_context_that_it_started_with(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "")  # so that it is restored after the test
    add_context(home / ".docker", "colima", f"unix://{home}/colima.sock")
    add_context(home / ".docker", "desktop", f"unix://{home}/desktop.sock")
    choose(home / ".docker", "colima")
    settle()
    choose(home / ".docker", "desktop")
    async with EngineClient() as engine:
        assert engine.endpoint.url == f"unix://{home}/colima.sock"


def test_a_socket_in_a_directory_of_others_is_none_that_can_be_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/run/podman belongs to root alone."""

    def asked(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_socket", asked)
    with pytest.raises(ConfigError, match="no Docker Engine was found") as refused:
        endpoint()
    assert refused.value.hint == "start one, or point DOCKER_HOST at it"
