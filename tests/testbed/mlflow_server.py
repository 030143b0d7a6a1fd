"""A real MLflow server on a loopback port, on SQLite, from an environment of its own that is made once per machine."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

from deployd.bringup.cache import directory, locked
from deployd.bringup.ports import free_port
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable

_LOCK = Path(__file__).parent / "mlflow.lock"
_MADE_OF = "made-of"
_WITHIN_S = 600.0  # 14 s on a calm machine
_SETTINGS = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "dGVzdCB0ZXN0IHRlc3QgdGVzdCB0ZXN0IHRlc3QgMTI=",
    "DO_NOT_TRACK": "true",
}


@dataclass(slots=True)
class MLflow:
    """The server: its address, the directory of its database and artifacts, and the Python that has MLflow's client."""

    url: str
    state: Path
    python: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        address = self.url.removeprefix("http://")
        host, port = address.split(":")
        store, artifacts = f"sqlite:///{self.state}/mlflow.db", str(self.state / "artifacts")
        places = ["--backend-store-uri", store, "--artifacts-destination", artifacts]
        command = [
            str(self.python),
            "-m",
            "mlflow",
            "server",
            "--host",
            host,
            "--port",
            port,
            "--workers",
            "1",
            *places,
        ]
        log = self.state / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=self.environment, cwd=self.state, start_new_session=True
            )
        _wait(self._process, address, log)

    def stop(self) -> None:
        """End it with all of its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None

    def register(self, name: str, files: Mapping[str, bytes]) -> str:
        """A new version of a registered model with these files, as MLflow's client makes one; its number."""
        logged = self.ask("POST", "logged-models", {"experiment_id": "0", "name": "model"})["model"]["info"]["model_id"]
        for path, content in files.items():
            self.overwrite(f"0/models/{logged}/artifacts/{path}", content)
        self.ask("PATCH", f"logged-models/{logged}", {"model_id": logged, "status": "LOGGED_MODEL_READY"})
        self.ask("POST", "registered-models/create", {"name": name}, or_else={})
        return self.version_at(name, f"models:/{logged}", model_id=logged)

    def version_at(self, name: str, source: str, **more: str) -> str:
        """A new version of a registered model whose files are at `source`; its number."""
        made = self.ask("POST", "model-versions/create", {"name": name, "source": source, **more})
        return str(made["model_version"]["version"])

    def overwrite(self, path: str, content: bytes) -> None:
        """Write an artifact, whether it is there or not."""
        httpx.put(f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{path}", content=content).raise_for_status()

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self.ask("POST", "registered-models/alias", {"name": name, "alias": alias, "version": version})

    def ask(self, method: str, path: str, body: Mapping[str, Any], *, or_else: Any = None) -> Any:
        """What MLflow's API answers; `or_else` where it refuses."""
        answer = httpx.request(method, f"{self.url}/api/2.0/mlflow/{path}", json=dict(body))
        if answer.is_error and or_else is not None:
            return or_else
        answer.raise_for_status()
        return answer.json()

    def run(self, code: str) -> str:
        """What a Python program that uses MLflow's client prints."""
        done = subprocess.run(
            [str(self.python), "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.state,
        )
        if done.returncode:
            raise AssertionError(done.stderr[-2000:])
        return done.stdout

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the server and of its clients; nothing of it leaves the machine."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        return {**ours, **_SETTINGS, "HOME": str(self.state), "MLFLOW_TRACKING_URI": self.url}


def environment(progress: Progress | None = None) -> Path:
    """The Python of the environment with MLflow; it is made if it is absent or of another lock. Unavailable when it cannot be."""
    path = directory() / "mlflow"
    with locked("mlflow"):
        if not made():
            with (progress or Progress()).step("making a Python environment with MLflow"):
                shutil.rmtree(path, ignore_errors=True)
                uv = str(Path(sys.executable).parent / "uv")
                _run([uv, "venv", "--quiet", "--python", sys.executable, str(path)])
                python = str(path / "bin" / "python")
                _run([uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(_LOCK)])
                (path / _MADE_OF).write_text(_wanted())
    return path / "bin" / "python"


def made() -> bool:
    """Whether the environment is there, as the lock has it."""
    made_of = directory() / "mlflow" / _MADE_OF
    return made_of.exists() and made_of.read_text() == _wanted()


@contextmanager
def mlflow() -> Iterator[MLflow]:
    """Run one inside the block. Unavailable when it cannot be had."""
    python = environment()
    with tempfile.TemporaryDirectory(prefix="deployd-mlflow-") as state:
        server = MLflow(f"http://127.0.0.1:{free_port()}", Path(state), python)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _wanted() -> str:
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise Unavailable(f"there is no {command[0]}", hint="make setup installs uv") from exc
    if done.returncode:
        raise Unavailable(f"{Path(command[0]).name} {command[1]} failed", hint=done.stderr.strip()[-1000:])


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = monotonic() + _WITHIN_S
    while process.poll() is None and monotonic() < deadline:
        connection = HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().read() == b"OK":
                return
        except OSError:
            pass
        finally:
            connection.close()
        sleep(0.1)
    raise Unavailable("MLflow did not start", hint=log.read_text()[-1000:])
