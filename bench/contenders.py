"""The rivals of the model service: how each is installed and started, and which request it gets.

Every rival has its own pinned environment in the user's cache, made once. It is set up as its documentation recommends for a
light model in one process. Knows nothing of figures.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

APPS = Path(__file__).parent / "rivals"
SKLEARN = ("scikit-learn==1.9.1", "numpy==2.4.6")
WEB = ("uvloop==0.23.0", "httptools==0.9.0")
UVICORN = ("uvicorn==0.54.0", *WEB)
# The settings of model_service's own uvicorn, as far as they change its speed.
UVICORN_FLAGS = (
    *("--loop", "uvloop"),
    *("--http", "httptools"),
    *("--ws", "none"),
    *("--lifespan", "off"),
    *("--timeout-keep-alive", "75"),
    *("--log-level", "warning"),
    "--no-access-log",
    "--no-proxy-headers",
    "--no-server-header",
    *("--host", "127.0.0.1"),
)


class NotInstallable(Exception):
    """A rival cannot be installed here; the text says why."""


@dataclass(frozen=True)
class Rival:
    """One server to measure. `command` may contain {bin}, {dir} and {port}; `environment` is the name of its environment."""

    environment: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    body: str = "feature"
    env: Mapping[str, str] = field(default_factory=dict)
    peer: bool = True


RIVALS: Mapping[str, Rival] = {
    "recipe": Rival(
        "flask", ("flask==3.1.2", "gunicorn==23.0.0", *SKLEARN), ("{bin}/python", "recipe_app.py"), "/api", peer=False
    ),
    "flask-gunicorn": Rival(
        "flask",
        ("flask==3.1.2", "gunicorn==23.0.0", *SKLEARN),
        ("{bin}/gunicorn", "-w", "2", "-k", "gthread", "--threads", "4", "-b", "127.0.0.1:{port}", "recipe_app:app"),
        "/api",
    ),
    "fastapi": Rival(
        "fastapi",
        ("fastapi==0.165.0", *UVICORN, *SKLEARN),
        ("{bin}/uvicorn", "fastapi_app:app", "--port", "{port}", *UVICORN_FLAGS),
        "/api",
    ),
    "mlserver": Rival(
        "mlserver",
        ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0", "httptools==0.9.0", *SKLEARN),
        ("{bin}/mlserver", "start", "{dir}/mlserver-plain"),
        "/v2/models/iris/infer",
        body="v2",
        env={"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_GRPC_PORT": "{port+1}", "MLSERVER_METRICS_PORT": "{port+2}"},
    ),
    "mlserver-batching": Rival(
        "mlserver",
        ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0", "httptools==0.9.0", *SKLEARN),
        ("{bin}/mlserver", "start", "{dir}/mlserver-batch"),
        "/v2/models/iris/infer",
        body="v2",
        env={"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_GRPC_PORT": "{port+1}", "MLSERVER_METRICS_PORT": "{port+2}"},
    ),
    "bentoml": Rival(
        "bentoml",
        ("bentoml==1.4.39", *WEB, *SKLEARN),
        ("{bin}/bentoml", "serve", "bentoml_app:Iris", "--host", "127.0.0.1", "--port", "{port}"),
        "/predict",
        env={"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": "{dir}/home"},
    ),
    "litserve": Rival(
        "litserve",
        ("litserve==0.2.19", *SKLEARN),
        ("{bin}/python", "litserve_app.py"),
        "/predict",
    ),
    "mlflow": Rival(
        "mlflow",
        ("mlflow==3.17.2", *WEB, *SKLEARN),
        (
            "{bin}/mlflow",
            "models",
            "serve",
            "-m",
            "{dir}/mlflow-model",
            "--env-manager",
            "local",
            "-w",
            "1",
            "-p",
            "{port}",
        ),
        "/invocations",
        body="inputs",
        env={"UVICORN_ACCESS_LOG": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    ),
}


def cache() -> Path:
    """The directory of the rivals' environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deployd-bench"


def installed(rival: Rival) -> Path:
    """The directory of a rival's environment, made if necessary; NotInstallable when that fails."""
    home = cache() / rival.environment
    python = home / "venv/bin/python"
    _once(home / "installed", "\n".join(rival.requirements).encode(), lambda: _install(rival, home, python))
    train = APPS / "train.py"
    _once(home / "trained", train.read_bytes(), lambda: _step([str(python), str(train), rival.environment, str(home)]))
    return home


def _once(marker: Path, inputs: bytes, work: Callable[[], object]) -> None:
    """Do the work, unless the marker says that it was done for the same inputs."""
    wanted = hashlib.sha256(inputs).hexdigest()
    if marker.exists() and marker.read_text() == wanted:
        return
    work()
    marker.write_text(wanted)


def _install(rival: Rival, home: Path, python: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    _step([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home / "venv")])
    install = [sys.executable, "-m", "uv", "pip", "install", "--python", str(python), "--only-binary", ":all:"]
    _refuse_gpu_packages([*install, "--dry-run", *rival.requirements])
    _step([*install, "--compile-bytecode", *rival.requirements])


def _refuse_gpu_packages(dry_run: Sequence[str]) -> None:
    """A light model does not need gigabytes of GPU libraries."""
    if re.search(r"\b(torch|nvidia-c\w+|nvidia-nccl\w*|triton)==", _step(dry_run)):
        raise NotInstallable("it needs CUDA packages of several gigabytes")


def _step(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    except subprocess.TimeoutExpired as exc:
        raise NotInstallable("not installed within 15 minutes") from exc
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr or exc.stdout).strip().splitlines()[-1:]
        raise NotInstallable(f"the installation failed: {''.join(last)[:300]}") from exc
    return done.stdout + done.stderr
