"""A real Prometheus (Debian's package) on a loopback port, which scrapes itself every second, and what else it is told to."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from deployd.bringup.ports import free_port
from deployd.errors import Unavailable
from tests.testbed.programs import program

_WITHIN_S = 30.0


@contextmanager
def prometheus(*jobs: Mapping[str, Any], rules: Path | None = None) -> Iterator[str]:
    """Run one inside the block, with more `jobs` and with alerts; its URL. Unavailable when Debian's cannot be unpacked."""
    command, address = str(program("prometheus", "prometheus")), f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="deployd-prometheus-") as directory:
        settings = Path(directory, "prometheus.yml")
        itself = {"job_name": "self", "static_configs": [{"targets": [address]}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [itself, *jobs],
            "rule_files": [str(rules)] if rules is not None else [],
        }
        settings.write_text(json.dumps(config))  # JSON is YAML
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
