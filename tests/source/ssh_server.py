"""OpenSSH's sshd on loopback for one test, as the user who runs the tests."""

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployd.bringup.ports import free_port
from deployd.errors import Unavailable
from tests.testbed.programs import program

_WITHIN_S = 20.0
# As root, sshd needs an account and /run/sshd. A mount namespace provides both without a change to the host.
_AS_ROOT = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind "$0" /etc/passwd && exec "$@"'
_ACCOUNT = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"


@dataclass(frozen=True, slots=True)
class SshServer:
    """A running server: its port, its host key as a line of known_hosts, and the private key of a user that may log in."""

    port: int
    host_key: str
    user_key: str

    def url(self, path: Path) -> str:
        """The URL of the repository at `path`."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def a_key(path: Path) -> Path:
    """Make a key pair; return the path of the private key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def an_ssh_server(directory: Path) -> Iterator[SshServer]:
    """Run a server inside the block; Unavailable when there is no sshd."""
    sshd = program("sshd", "openssh-server")
    directory.mkdir()
    for name in ("host", "user"):
        a_key(directory / name)
    port = free_port()
    command = [*_privileges(directory), str(sshd), "-D", "-e", "-f", str(_settings(directory, port))]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(process, port, directory / "log")
            kind, key = (directory / "host.pub").read_text().split()[:2]
            yield SshServer(port, f"[127.0.0.1]:{port} {kind} {key}\n", (directory / "user").read_text())
        finally:
            process.terminate()


def _settings(directory: Path, port: int) -> Path:
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": directory / "host",
        "AuthorizedKeysFile": directory / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
    }
    path = directory / "config"
    path.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    return path


def _privileges(directory: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    accounts = directory / "passwd"
    others = [line for line in Path("/etc/passwd").read_text().splitlines(True) if not line.startswith("sshd:")]
    accounts.write_text("".join(others) + _ACCOUNT)
    return ["unshare", "--mount", "sh", "-c", _AS_ROOT, str(accounts)]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Unavailable("sshd did not start", hint=log.read_text(errors="replace")[-1000:])
