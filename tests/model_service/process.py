"""The service as users start it: as a process on a free port."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployd.bringup.ports import free_port


@dataclass
class Running:
    """A service that was started."""

    process: subprocess.Popen[str]
    url: str

    def wait_until_ready(self, seconds: float = 180) -> None:
        """Raises TimeoutError, or RuntimeError if the process ends first."""
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False, verify=False) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the service ended with {self.process.returncode}")
                with suppress(httpx.TransportError):
                    if client.get("/v2/health/ready").status_code == 200:
                        return
                time.sleep(0.02)
        raise TimeoutError

    def stop(self, seconds: float = 30) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def started(directory: Path, *options: str, **environment: str) -> Iterator[Running]:
    """A service that may not be ready yet. It is stopped at the end."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "model_service",
        "--dir",
        str(directory),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, *options], env=os.environ | environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
        assert process.stderr is not None
        process.stderr.close()


@contextmanager
def running(directory: Path, *options: str, **environment: str) -> Iterator[Running]:
    """A service that is ready."""
    with started(directory, *options, **environment) as service:
        service.wait_until_ready()
        yield service


def workers_of(service: Running) -> set[int]:
    """The process ids of a service's workers."""
    processes = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(service.process.pid)], capture_output=True, text=True, check=False
    )
    return set(map(int, processes.stdout.split()))
