"""The service while something goes wrong: a slow model, slow loading, a killed worker, a killed supervisor."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from model_service import train
from tests.model_service.process import Running, running, started, workers_of
from tests.model_service.slow import ENDLESS, TRUST

pytestmark = pytest.mark.slow

REQUEST = {"instances": [[5.8, 4.0, 1.2, 0.2]]}
SHORT = ("--drain", "0", "--grace", "1")


@pytest.fixture(scope="module")
def slow_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("slow")
    assert train.main(["--out", str(out), "--task", "tests.model_service.slow"]) == 0
    return out


def wait_until_live(service: Running) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(f"{service.url}/v2/health/live", timeout=30).status_code == 200
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


class Log:
    """Counts the workers that say in the log that they are ready."""

    def __init__(self, service: Running) -> None:
        self._service = service
        self._ready = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def ready(self) -> int:
        """How many workers have become ready so far."""
        with self._changed:
            return self._ready

    def close(self) -> None:
        self._reader.join(60)

    def _read(self) -> None:
        assert self._service.process.stderr is not None
        for line in self._service.process.stderr:
            with self._changed:
                self._ready += "Ready: " in line
                self._changed.notify_all()


@contextmanager
def logged(service: Running) -> Iterator[Log]:
    log = Log(service)
    try:
        yield log
    finally:
        service.stop()
        log.close()


def statuses_until(log: Log, ready: int, service: Running) -> set[int]:
    """The statuses of requests, each on its own connection, until so many workers have become ready."""
    statuses: set[int] = set()
    deadline = time.monotonic() + 200
    while log.ready < ready:
        assert time.monotonic() < deadline
        try:
            statuses.add(httpx.post(f"{service.url}/predict", json=REQUEST, timeout=30).status_code)
        except httpx.TransportError:  # the killed worker had taken the connection
            continue
    return statuses


def test_a_busy_model_does_not_delay_the_exit(slow_dir: Path) -> None:
    with running(slow_dir, *TRUST, "--timeout", "0.2", *SHORT) as service:
        answer = httpx.post(f"{service.url}/predict", json={"instances": [[ENDLESS, 1, 1, 1]]})
        assert answer.status_code == 504
        assert service.stop(40) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_is_loading_is_live_and_exits_on_sigterm(slow_dir: Path, workers: str) -> None:
    with started(slow_dir, *TRUST, *SHORT, "--workers", workers, SLOW_FIRST="90") as service:
        wait_until_live(service)
        assert httpx.get(f"{service.url}/v2/health/ready").status_code == 503
        assert httpx.post(f"{service.url}/predict", json=REQUEST).status_code == 503
        assert service.stop(40) == 0


def test_no_caller_gets_a_503_once_one_worker_is_ready_even_while_another_is_replaced(slow_dir: Path) -> None:
    with (
        started(slow_dir, *TRUST, *SHORT, "--workers", "2", SLOW_FIRST="1") as service,
        logged(service) as log,
    ):
        service.wait_until_ready()
        assert statuses_until(log, 2, service) <= {200}
        os.kill(min(workers_of(service)), signal.SIGKILL)
        assert statuses_until(log, 3, service) == {200}


def test_workers_exit_when_their_supervisor_is_killed(iris_dir: Path) -> None:
    with running(iris_dir, "--workers", "2", "--drain", "0") as service:
        service.process.kill()
        service.process.wait(30)
        address = urlsplit(service.url)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_server((str(address.hostname), address.port or 0)).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                break
