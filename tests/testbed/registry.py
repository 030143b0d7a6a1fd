"""A real image registry (Debian's docker-registry) on a loopback port, with its data in a temporary directory.

It uses plain http, which Docker allows for registries in 127.0.0.0/8.
"""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import quote

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from deployd.errors import Unavailable
from tests.testbed.programs import program

_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
_USER = "deployd"
_PASSWORD = "testbed-password"
_HTPASSWD = "deployd:$2y$05$26yVQR1QnvpLqMMs9Q/m5.Rn.3zyFtJI9mB7E9nmyG00cbAb1Ztoy\n"


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry. Image names begin with `address` (`127.0.0.1:PORT`); credentials are None when it asks for none."""

    address: str
    username: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        """The URL of its HTTP API, without the trailing `/v2/`."""
        return f"http://{self.address}"

    def digest(self, repository: str, tag: str = "latest") -> str:
        """The digest under which it has an image; it must ask for no credentials."""
        connection = HTTPConnection(self.address, timeout=5)
        try:
            connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ", ".join(_MANIFESTS)})
            return connection.getresponse().headers["Docker-Content-Digest"]
        finally:
            connection.close()


@contextmanager
def registry(*, authenticated: bool = False) -> Iterator[Registry]:
    """Run a registry inside the block; Unavailable when Debian's docker-registry cannot be installed."""
    command = [str(program("docker-registry", "docker-registry")), "serve"]
    with tempfile.TemporaryDirectory(prefix="deployd-registry-") as directory:
        address = f"127.0.0.1:{free_port()}"
        settings = Path(directory, "config.yml")
        settings.write_text(_settings(Path(directory), address, authenticated=authenticated))
        with Path(directory, "log").open("wb") as log, _running([*command, str(settings)], log.fileno()) as process:
            _wait(process, address, Path(directory, "log"))
            yield Registry(address, _USER, _PASSWORD) if authenticated else Registry(address)


def pushed(engine: Engine, registry: Registry, image: str) -> str:
    """Push the engine's `image`, so that a cluster with an engine of its own can pull it too; its name in the registry."""
    api, name = engine.api(timeout=300), image.rpartition("/")[2].partition(":")[0]
    repository = f"{registry.address}/testbed/{name}"
    api.post(f"/images/{quote(image, safe='')}/tag?repo={quote(repository, safe='')}&tag=pushed")
    try:
        credentials = base64.b64encode(b"{}").decode()
        said = [*api.stream(f"/images/{repository}/push?tag=pushed", headers={"X-Registry-Auth": credentials})]
    finally:
        api.delete(f"/images/{repository}:pushed")
    if errors := [line["error"] for line in said if "error" in line]:
        raise Unavailable(f"{image} cannot be pushed to {registry.address}", hint=str(errors[0]))
    return f"{repository}:pushed"


def _settings(directory: Path, address: str, *, authenticated: bool) -> str:
    settings = {
        "version": "0.1",
        "log": "{level: warn, accesslog: {disabled: true}}",
        "storage": f"{{delete: {{enabled: true}}, filesystem: {{rootdirectory: {directory / 'data'}}}}}",
        "http": f"{{addr: '{address}'}}",
    }
    if authenticated:
        passwords = directory / "htpasswd"
        passwords.write_text(_HTPASSWD)
        settings["auth"] = f"{{htpasswd: {{realm: testbed, path: {passwords}}}}}"
    return "".join(f"{key}: {value}\n" for key, value in settings.items())


@contextmanager
def _running(command: list[str], log: int) -> Iterator[subprocess.Popen[bytes]]:
    # The registry ends with a test run that is killed.
    guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    # Nothing else is passed on: a variable REGISTRY_* of the caller would change its settings.
    environment = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [*guard, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = monotonic() + 20
    while monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse()
        except OSError:
            sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise Unavailable("the registry did not start", hint=log.read_text(errors="replace")[-1000:])
