"""A real Prometheus (Debian's package) on a loopback port, which scrapes itself every second."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup.ports import free_port
from deployd.errors import Unavailable
from tests.testbed.programs import program

_WITHIN_S = 30.0


@contextmanager
def prometheus() -> Iterator[str]:
    """Run one inside the block; its URL. Unavailable when Debian's prometheus cannot be unpacked."""
    command, address = str(program("prometheus", "prometheus")), f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="deployd-prometheus-") as directory:
        settings = Path(directory, "prometheus.yml")
        jobs = f"[{{job_name: self, static_configs: [{{targets: ['{address}']}}]}}]"
        settings.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs: {jobs}\n")
        options = [
            f"--config.file={settings}",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={directory}/data",
        ]
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen([command, *options], stdout=log, stderr=log)
        try:
            _wait(process, address, Path(directory, "log"))
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Until it is ready and has scraped once."""
    deadline = monotonic() + _WITHIN_S
    while process.poll() is None and monotonic() < deadline:
        connection = HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/api/v1/query?query=up")
            if b'"1"' in connection.getresponse().read():
                return
        except OSError:
            pass
        finally:
            connection.close()
        sleep(0.1)
    raise Unavailable("prometheus did not start", hint=log.read_text()[-1000:])
