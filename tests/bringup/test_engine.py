import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployd.bringup import engine
from deployd.errors import Unavailable


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Yields a function that adds a docker client of some version, with or without buildx, to an otherwise empty PATH."""
    directories: list[str] = []

    def add(version: str, *, buildx: bool = False) -> Path:
        directory = tmp_path / f"bin{len(directories)}"
        directory.mkdir()
        client = directory / "docker"
        buildx_answer = "echo buildx v0.20" if buildx else "echo no such command >&2; exit 1"
        client.write_text(
            f'#!/bin/sh\nif [ "$1" = buildx ]; then {buildx_answer}; else echo "Docker version {version}"; fi\n'
        )
        client.chmod(0o755)
        directories.append(str(directory))
        monkeypatch.setenv("PATH", os.pathsep.join(directories))
        return client

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine, "SYSTEM_CLIENTS", tmp_path)
    engine.buildkit_client.cache_clear()
    yield add
    engine.buildkit_client.cache_clear()


def test_an_old_client_needs_no_plugin(clients: Callable[..., Path]) -> None:
    assert engine.buildkit_client() is None
    engine.buildkit_client.cache_clear()
    client = clients("20.10.24+dfsg1, build 297e128")
    assert engine.buildkit_client() == client


def test_a_new_client_without_the_plugin_is_skipped(clients: Callable[..., Path]) -> None:
    clients("28.2.2, build e6534b4")
    old = clients("20.10.24, build 297e128")
    assert engine.buildkit_client() == old


def test_a_new_client_with_the_plugin_is_used(clients: Callable[..., Path]) -> None:
    new = clients("28.2.2, build e6534b4", buildx=True)
    clients("20.10.24, build 297e128")
    assert engine.buildkit_client() == new


def test_without_a_client_that_can_build_the_answer_is_none(clients: Callable[..., Path]) -> None:
    clients("28.2.2, build e6534b4")
    clients("17.12.1, build 7390fc6")
    assert engine.buildkit_client() is None


def test_when_docker_host_does_not_answer_no_other_engine_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert engine.find() is None
    with pytest.raises(Unavailable, match=r"answers at unix://.*, by DOCKER_HOST") as refused:
        engine.ensure()
    assert "DOCKER_HOST" in refused.value.hint


def test_the_user_socket_is_searched_where_xdg_runtime_dir_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "SOCKETS", ())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
    assert f"unix://{tmp_path}/docker.sock" in engine._urls()


def test_without_root_on_debian_the_hint_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "SOCKETS", (tmp_path / "none.sock",))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(engine, "can_install", lambda: False)
    with pytest.raises(Unavailable) as refused:
        engine.ensure()
    assert "install and start Docker" in refused.value.hint


@pytest.mark.parametrize("how", [["--bundle", "{}"], ["-b", "{}"], ["--bundle={}"]])
def test_the_runtime_sets_a_negative_oom_score_to_zero(how: list[str], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    settings = bundle / "config.json"
    settings.write_text(json.dumps({"process": {"oomScoreAdj": -998, "args": ["sh"]}}, separators=(",", ":")))
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    script = tmp_path / "wrapped"
    script.write_text(engine.RUNTIME)
    script.chmod(0o755)
    arguments = ["--log", "x", "create", *(word.format(bundle) for word in how), "name"]
    places = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([script, *arguments], env={"PATH": places}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == arguments
    assert json.loads(settings.read_text()) == {"process": {"oomScoreAdj": 0, "args": ["sh"]}}


def test_containers_get_more_weight_than_the_engine_where_cgroups_allow_it(tmp_path: Path) -> None:
    engine.weigh_containers(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "cpu").mkdir()
    engine.weigh_containers(tmp_path)
    assert int((tmp_path / "cpu/docker/cpu.shares").read_text()) == 16 * 1024


@pytest.mark.engine
def test_a_running_engine_is_found_with_its_version(docker_engine: engine.Engine) -> None:
    found = engine.ensure()
    assert found == docker_engine
    assert found.version.partition(".")[0].isdigit()
    assert found.api().ping()
