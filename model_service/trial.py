"""`python -m model_service.trial --task model`: trains a model, serves it on this machine, and says where its page is.

With `--mlflow DIR` the model is one that MLflow logged.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from model_service import mlflow, train
from model_service.estimator_files import PICKLE_FILE
from model_service.manifest import Manifest

_HOST = "127.0.0.1"
_READY_WITHIN_S = 120.0
_INTERRUPTED = 130  # as a shell tells the end by SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code of what makes the model, if that fails, or else of the service."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends this ends the service, too
    try:
        failed = _make(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return failed or _serve(options.out, _free_port(options.port))


def _make(options: argparse.Namespace) -> int:
    """Trains the model, or makes it of the one that MLflow logged; returns the exit code."""
    out = ["--out", str(options.out)]
    if options.mlflow is None:
        return train.main(["--task", options.task, "--seed", str(options.seed), *out])
    return mlflow.main([str(options.mlflow), *(["--name", options.name] if options.name else []), *out])


def _serve(out: Path, port: int) -> int:
    """Serves until a person or the service ends it; returns the exit code of the service."""
    service = subprocess.Popen(
        [sys.executable, "-m", "model_service", "--dir", str(out), "--host", _HOST, "--port", str(port), *_trust(out)]
    )
    try:
        if _is_ready(service, port):
            _show(f"http://{_HOST}:{port}/")
        return service.wait()
    except KeyboardInterrupt:
        service.send_signal(signal.SIGINT)
        return service.wait()


def _trust(out: Path) -> list[str]:
    """The options for what a service does not trust by itself. Here it may: this machine has just made the model."""
    made = Manifest.read(out)
    if made.format == "pickle":
        return ["--allow-pickle", made.files[PICKLE_FILE]]
    types = train.untrusted_in(out)
    return ["--trust", ",".join(types)] if types else []


def _free_port(wanted: int) -> int:
    """The port, or any other one when that is taken."""
    for port in (wanted, 0):
        try:
            with socket.create_server((_HOST, port)) as listener:
                return int(listener.getsockname()[1])
        except OSError:
            continue
    raise AssertionError("no port is free")


def _is_ready(service: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the service can predict; False when it has ended or takes too long."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{port}/v2/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


def _show(url: str) -> None:
    print(f"\nTry it: {url}   (Ctrl-C ends it)", flush=True)
    if sys.stdout.isatty() and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
        webbrowser.open(url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service.trial",
        description="Trains a model, serves it on this machine, and says where its page is.",
    )
    made_of = parser.add_mutually_exclusive_group()
    made_of.add_argument(
        "--task",
        default="model_service.iris",
        metavar="MODULE",
        help="module with a function task(seed) (default: %(default)s)",
    )
    made_of.add_argument(
        "--mlflow", type=Path, metavar="DIR", help="instead: a model that MLflow logged, with MLmodel in it"
    )
    parser.add_argument(
        "--name", help="name of the model that MLflow logged (default: the registry's, or the directory's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed for all that is random (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="directory for the files (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=5000, help="port, or another one if it is taken (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
