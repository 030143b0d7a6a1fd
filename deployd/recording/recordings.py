"""The recorded requests of all apps: HAProxy sends samples to a socket, and a thread of its own keeps them.

HAProxy never waits for deployd: what it cannot send is gone, and the app's answer is not later for it. An app that does not agree
to be recorded, or no longer does, has nothing here.
"""

import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from deployd.config.app import App
from deployd.host.unix import short
from deployd.metrics import RECORDED
from deployd.recorded import Recorded
from deployd.recording.request import parse_datagram, without
from deployd.recording.ring import Ring

logger = logging.getLogger(__name__)

_LARGEST_DATAGRAM = 65536
_STOP_SECONDS = 0.5


class Recordings:
    """Below `directory` there is one ring for each app. `socket_path`: where HAProxy sends its samples."""

    def __init__(self, directory: Path, socket_path: Path) -> None:
        self._directory = directory
        self._socket_path = socket_path
        self._wanted: Mapping[str, tuple[Ring, frozenset[str]]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def expect(self, apps: Iterable[App]) -> None:
        """Record requests of the apps that agree to it, and remove recordings of all others."""
        wanted = {app.name: app.record for app in apps if app.record is not None and app.target == "docker"}
        self._wanted = {
            name: (Ring(self._directory / name, record.size), frozenset(record.remove))
            for name, record in wanted.items()
        }
        for left in self._directory.iterdir() if self._directory.is_dir() else ():
            if left.name not in wanted:
                shutil.rmtree(left, ignore_errors=True)
        if wanted and self._thread is None:
            try:
                self._start()
            except OSError as exc:
                logger.error("No requests are recorded: %s: %s", self._socket_path, exc.strerror)

    def requests(self, app: str, count: int) -> list[Recorded]:
        """At most `count` requests to an app, spread evenly over the last hours that had any. It reads files: for a thread."""
        return self._wanted[app][0].requests(count) if app in self._wanted else []

    def close(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._socket_path.unlink(missing_ok=True)

    def _start(self) -> None:
        """Start the thread. HAProxy runs as another user, so the socket is writable for all who can reach it: those in the
        gateway's container."""
        self._socket_path.parent.mkdir(parents=True, exist_ok=True)
        self._socket_path.parent.chmod(0o711)
        self._socket_path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with short(self._socket_path) as name:
            receiver.bind(name)
        self._socket_path.chmod(0o666)
        receiver.settimeout(_STOP_SECONDS)
        self._thread = threading.Thread(target=self._receive, args=(receiver,), name="recordings", daemon=True)
        self._thread.start()

    def _receive(self, receiver: socket.socket) -> None:
        with receiver:
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    self._take(receiver.recv(_LARGEST_DATAGRAM))

    def _take(self, datagram: bytes) -> None:
        if (found := parse_datagram(datagram)) is None or found[0] not in self._wanted:
            return
        name, request = found
        ring, removed = self._wanted[name]
        try:
            outcome = "kept" if ring.add(without(request, removed), time.time()) else "hour full"
        except OSError as exc:
            outcome = "failed"
            logger.warning("A recorded request of %s cannot be kept: %s", name, exc.strerror)
        RECORDED.labels(name, outcome).inc()
