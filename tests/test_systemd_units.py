"""The units in systemd/, and a daemon started, stopped and started again as systemd does it with them."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from deployd.config.daemon import SOCKET, ServerSection
from deployd.config.values import seconds
from deployd.exits import CONFIG as CONFIG_EXIT
from tests.deliveries import SECRET, a_push, headers_of, raw_of

UNITS = Path(__file__).parents[1] / "systemd"
WITHIN = 60.0

CONFIG = """\
[server]
state_dir = "{state}"
[github]
secrets = ["credential:webhook_secret"]
[git]
poll_every = "0"
allow_file = true
[[app]]
name = "iris"
repo = "{remote}"
webhook = "github.com/acme/iris"
branch = "main"
[app.gateway]
listen = 8000
"""

# What systemd does between fork and exec: the socket becomes descriptor 3, and LISTEN_PID names the process.
ACTIVATE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "deployd", *sys.argv[2:]])
"""


class Systemd:
    """What systemd gives to a daemon: a listening socket that outlives it, a notify socket, a credential."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.local = directory / "state" / SOCKET
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(WITHIN)
        (directory / "credentials").mkdir()
        (directory / "credentials/webhook_secret").write_text(SECRET + "\n")
        remote = directory / "acme" / "iris.git"
        subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
        (directory / "config.toml").write_text(CONFIG.format(state=directory / "state", remote=remote))

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon as a child, from before it is ready; killed at the end if it still runs."""
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "WATCHDOG_USEC": "400000",
            "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
            "DOCKER_HOST": f"unix://{self.directory}/no-engine.sock",
        }
        number = self.listening.fileno()
        command = [sys.executable, "-c", ACTIVATE, str(number), "run", "--config", str(self.directory / "config.toml")]
        with (self.directory / "log").open("ab") as log:
            daemon = subprocess.Popen(command, env=environment, pass_fds=[number], stdout=log, stderr=log)
        try:
            yield daemon
        finally:
            daemon.kill()
            daemon.wait()
            print((self.directory / "log").read_text())

    def told(self, state: str) -> None:
        """Wait until the daemon says `state`; ignore what it says before."""
        deadline = monotonic() + WITHIN
        while monotonic() < deadline:
            if state in self.notified.recv(4096).decode().splitlines():
                return
        raise AssertionError(f"the daemon never said {state}")

    def close(self) -> None:
        """Close what systemd keeps open while the units are active."""
        self.listening.close()
        self.notified.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Sockets and a credential as the units have them."""
    found = Systemd(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    """`[Service]` of deployd.service; of a key that is there twice, the last."""
    return _unit("deployd.service")["Service"]


def _unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(UNITS / name)
    return parser


def _deliver(url: str, number: int) -> int:
    """Send a push of a commit of its own, as GitHub does; the status of the answer."""
    raw = raw_of(a_push(after=f"{number:040x}"))
    with httpx.Client(trust_env=False, timeout=WITHIN, verify=False) as client:
        return client.post(f"{url}/webhooks/github", content=raw, headers=headers_of(raw, guid=str(number))).status_code


def _queued(listening: socket.socket, wanted: int) -> None:
    """Wait until so many connections wait in the backlog, by the kernel's own account (tcpi_unacked of a listening socket)."""
    deadline = monotonic() + WITHIN
    while int.from_bytes(listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)[24:], sys.byteorder) < wanted:
        assert monotonic() < deadline, "the connections never arrived"
        sleep(0.01)


def _kept(path: Path) -> set[str]:
    """The GUIDs of the deliveries that the daemon has stored."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=WITHIN) as client:
        answer = client.get("http://localhost/api/v1/deliveries?limit=200").raise_for_status()
    return {delivery["guid"] for delivery in answer.json()["deliveries"]}


def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here (Debian's package systemd has it)")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/deployd/.venv/bin/deployd", sys.executable)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", "deployd.service", "deployd.socket"],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_waits_for_the_end_of_a_cut_over(service: configparser.SectionProxy) -> None:
    # 30 s beyond the requests in flight: HAProxy is given 20 s to come up, a switch takes milliseconds.
    assert seconds(f"{service['TimeoutStopSec']}s") >= ServerSection().stop_timeout + 30
    assert service["KillMode"] == "mixed"
    assert service["Type"] == "notify"


def test_systemd_does_not_restart_a_daemon_with_a_wrong_config(service: configparser.SectionProxy) -> None:
    assert service["RestartPreventExitStatus"].split()[0] == str(CONFIG_EXIT)
    assert service["Restart"] == "on-failure"


def test_the_socket_listens_where_the_daemon_would_by_itself() -> None:
    assert _unit("deployd.socket")["Socket"]["ListenStream"] == f"{ServerSection().host}:{ServerSection().port}"


@pytest.mark.slow
def test_the_daemon_notifies_systemd_when_it_is_ready_alive_and_stopping(systemd: Systemd) -> None:
    with systemd.started() as daemon:
        systemd.told("READY=1")
        assert httpx.get(f"{systemd.url}/healthz", trust_env=False).status_code == 200
        systemd.told("WATCHDOG=1")
        systemd.told("WATCHDOG=1")
        daemon.send_signal(signal.SIGTERM)
        systemd.told("STOPPING=1")
        assert daemon.wait(WITHIN) == 0


@pytest.mark.slow
def test_systemd_is_told_what_serves_and_why_the_daemon_cannot_start(systemd: Systemd) -> None:
    with systemd.started():
        systemd.told("STATUS=0 of 1 app served: none")
    (systemd.directory / "config.toml").write_text("[[app]]\nnam = 1\n")
    with systemd.started() as daemon:
        assert daemon.wait(WITHIN) == CONFIG_EXIT
    said = systemd.notified.recv(4096).decode()
    while "STATUS=not started" not in said:
        said = systemd.notified.recv(4096).decode()
    assert "nam: unknown key" in said


@pytest.mark.slow
def test_a_secret_is_read_from_the_credentials(systemd: Systemd) -> None:
    with systemd.started():
        systemd.told("READY=1")
        assert _deliver(systemd.url, 1) == 202


@pytest.mark.slow
def test_without_its_credential_the_daemon_exits_and_names_the_key(systemd: Systemd) -> None:
    (systemd.directory / "credentials/webhook_secret").unlink()
    with systemd.started() as daemon:
        assert daemon.wait(WITHIN) == CONFIG_EXIT
    assert "github.secrets" in (systemd.directory / "log").read_text()


@pytest.mark.slow
def test_deliveries_wait_for_a_daemon_that_restarts(systemd: Systemd) -> None:
    with systemd.started() as daemon:
        systemd.told("READY=1")
        assert _deliver(systemd.url, 1) == 202
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(WITHIN) == 0
    with ThreadPoolExecutor(20) as forge:
        waiting = [forge.submit(_deliver, systemd.url, number) for number in range(2, 22)]
        with systemd.started():
            assert [answer.result() for answer in waiting] == [202] * 20
            assert _kept(systemd.local) == {str(number) for number in range(1, 22)}


@pytest.mark.slow
def test_a_delivery_that_arrives_with_the_stop_signal_is_accepted(systemd: Systemd) -> None:
    with ThreadPoolExecutor(40) as forge:
        with systemd.started() as daemon:
            systemd.told("READY=1")
            daemon.send_signal(signal.SIGSTOP)
            waiting = [forge.submit(_deliver, systemd.url, number) for number in range(1, 41)]
            _queued(systemd.listening, 40)
            daemon.send_signal(signal.SIGTERM)
            daemon.send_signal(signal.SIGCONT)
            assert daemon.wait(WITHIN) == 0
        with systemd.started():
            assert [answer.result() for answer in waiting] == [202] * 40
            assert _kept(systemd.local) == {str(number) for number in range(1, 41)}
