"""What a start clears away; what a reload takes up; how the daemon ends."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployd.bringup.daemon import CONFIG, DemoDaemon, Process
from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.daemon import Daemon, assemble
from deployd.errors import ConfigError
from tests.deliveries import SECRET, headers_of

KUBERNETES = """
[registry]
url = "registry.example.com"
[[app]]
name = "iris"
repo = "https://example.com/acme/iris.git"
branch = "main"
target = "kubernetes"
[app.kubernetes]
"""

# The deploys of this daemon do not end when they are told to: they wait for an engine that hangs.
STUBBORN = """
import asyncio
from deployd import main
from deployd.__main__ import main as deployd
from deployd.tasks import uninterrupted

async def serve(daemon):
    try:
        await asyncio.Event().wait()
    finally:
        print("the deploys are told to stop", flush=True)
        await uninterrupted(asyncio.Event().wait())

main.Daemon.serve = serve
main._CUT_OVER_SECONDS = 1.0
deployd()
"""


def _config(**sections: Any) -> Config:
    return parse(sections)


async def test_a_start_sweeps_what_a_killed_daemon_left_of_a_backup(tmp_path: Path) -> None:
    left = tmp_path / ".backup-k3x_9qzl"
    left.mkdir()
    async with assemble(_config(server={"state_dir": str(tmp_path)}), tmp_path / "config.toml"):
        assert not left.exists()


async def test_a_reload_takes_the_file_as_it_is_now_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with assemble(_config(server={"state_dir": str(tmp_path)}), path) as daemon:
        running = daemon.services.running
        told: list[Config] = []
        running.tell(told.append)
        path.write_text(f'[server]\nstate_dir = "{tmp_path}"\nport = 9\n[git]\npoll_every = "1h"\n')
        assert await daemon.reload() == ["server.port"]
        assert running.config.git.poll_every == 3600
        assert told == [running.config]
        for broken, words in (("[git]\npoll = 1\n", "poll: unknown key"), (KUBERNETES, "needs a restart")):
            path.write_text(broken)
            with pytest.raises(ConfigError, match=words):
                await daemon.reload()
        assert told == [running.config]


@pytest.mark.parametrize(
    ("broken", "words"),
    [('[gitlab]\nsecrets = ["env:CUT"]\n', "signing token"), ('[notify]\nurls = ["env:GONE"]\n', "GONE is not set")],
)
async def test_a_config_that_somebody_refuses_changes_nothing_for_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, words: str
) -> None:
    for name, secret in (("OLD", SECRET), ("NEW", "another"), ("CUT", "whsec_")):
        monkeypatch.setenv(name, secret)
    path, server = tmp_path / "config.toml", {"state_dir": str(tmp_path)}
    new = f'[server]\nstate_dir = "{tmp_path}"\n[github]\nsecrets = ["env:NEW"]\n'
    async with assemble(_config(server=server, github={"secrets": ["env:OLD"]}), path) as daemon:
        running = daemon.services.running
        before, told = running.config, list[Config]()
        running.tell(told.append)
        path.write_text(new + broken)
        with pytest.raises(ConfigError, match=words):
            await daemon.reload()
        assert (running.config, told) == (before, [])
        assert await _pinged(daemon) == 200
        path.write_text(new)
        await daemon.reload()
        assert told == [running.config]
        assert await _pinged(daemon) == 401


async def _pinged(daemon: Daemon) -> int:
    """The answer to a ping that is signed with SECRET."""
    body, transport = b'{"zen": "x", "hook_id": 1}', httpx.ASGITransport(daemon.webhooks.by_path["/webhooks/github"])
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/webhooks/github", content=body, headers=headers_of(body, "ping"))
    return answer.status_code


async def test_a_refused_delivery_is_noted_with_the_address_from_a_trusted_proxy(
    tmp_path: Path,
) -> None:
    async with assemble(_config(server={"state_dir": str(tmp_path)}), tmp_path / "config.toml") as daemon:
        transport = httpx.ASGITransport(daemon.webhooks.by_path["/webhooks/github"], client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/webhooks/github", json={}, headers={"X-Forwarded-For": "198.51.100.7"})
        (noted,) = daemon.services.not_kept.latest()
        assert (answer.status_code, noted.status, noted.peer) == (401, 401, "198.51.100.7")


@asynccontextmanager
async def _stubborn(directory: Path, stop_timeout: str) -> AsyncIterator[tuple[DemoDaemon, Process]]:
    """A daemon that runs, and its process: its deploys want more time than the second they get beyond the requests."""
    config = CONFIG.replace("[github]", f'stop_timeout = "{stop_timeout}"\n[github]')
    daemon = DemoDaemon.prepare(directory, directory / "iris.git", config)
    daemon.program = ("-c", STUBBORN)
    daemon.environment = {"DOCKER_HOST": f"unix://{directory}/no-engine.sock"}
    async with daemon.running():
        assert daemon.process is not None
        try:
            yield daemon, daemon.process
        finally:
            if daemon.process.returncode is None:
                daemon.process.kill()


@pytest.mark.slow
async def test_deploys_are_told_to_stop_while_a_request_may_still_come_to_its_end(tmp_path: Path) -> None:
    async with _stubborn(tmp_path, "20s") as (daemon, process):
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        head = (
            "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2"
        )
        writer.write(f"{head}\r\n\r\n{{".encode())
        await daemon.wait_until_ready()  # by then it has the request's beginning
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while "the deploys are told to stop" not in daemon.log.read_text():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            writer.write(b"}")
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"  # and not 408: that comes after 9 s
        writer.close()


@pytest.mark.slow
async def test_a_deploy_that_does_not_end_is_left_to_the_next_start(tmp_path: Path) -> None:
    async with _stubborn(tmp_path, "1s") as (daemon, process):
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 1
        assert time.monotonic() - began >= 2
        assert "the next start goes on with the deploys in flight" in daemon.log.read_text()
