"""The rival of the deploy benches: the 2019 recipe's script (fetch, build, stop, run), with its own checkout and port.

Not a bench itself. Its containers and images carry a unique name and are removed at the end.
"""

import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE_S = 60.0


class Recipe:
    """`git fetch && docker build && docker run`, then requests until one is answered."""

    def __init__(self, directory: Path, remote: Path) -> None:
        self.name = f"recipe-{secrets.token_hex(4)}"
        self._checkout = directory / "checkout"
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = server.getsockname()[1]
        _run("git", "clone", "--quiet", str(remote), str(self._checkout))

    @property
    def url(self) -> str:
        """The URL of the app."""
        return f"http://127.0.0.1:{self._port}"

    def start_beside(self) -> float:
        """Fetch, build, run the new container beside the old one (without a published port) and wait until it answers: the
        least that any deploy can take. Then remove the old one. Returns the seconds until the answer."""
        began = time.monotonic()
        self._build()
        fresh = f"{self.name}-{secrets.token_hex(3)}"
        _run("docker", "run", "--detach", "--name", fresh, "--label", self.name, self.name)
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = _run("docker", "inspect", "--format", template, fresh).strip()
        _answering(f"http://{address}:5000/")
        took = time.monotonic() - began
        self._remove(but=fresh)
        return took

    def replace(self) -> float:
        """Do as the recipe: stop what runs, build, run on the port. Returns the seconds from the stop to the next answer."""
        began = time.monotonic()
        for container in self._containers():
            _run("docker", "stop", container)
        self._build()
        self._remove()
        _run("docker", "run", "--detach", "--label", self.name, "--publish", f"127.0.0.1:{self._port}:5000", self.name)
        _answering(self.url)
        return time.monotonic() - began

    @contextmanager
    def removed_at_the_end(self) -> Iterator["Recipe"]:
        """Remove its containers and its image at the end of the block."""
        try:
            yield self
        finally:
            self._remove()
            subprocess.run(["docker", "image", "rm", "--force", self.name], capture_output=True, check=False)

    def _build(self) -> None:
        _run("git", "-C", str(self._checkout), "fetch", "--quiet", "origin", "main")
        _run("git", "-C", str(self._checkout), "reset", "--quiet", "--hard", "FETCH_HEAD")
        _run("docker", "build", "--quiet", "--tag", self.name, str(self._checkout))

    def _containers(self) -> list[str]:
        return _run("docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={self.name}").split()

    def _remove(self, but: str | None = None) -> None:
        kept = _run("docker", "inspect", "--format", "{{.Id}}", but).strip() if but else ""
        if old := [container for container in self._containers() if container != kept]:
            _run("docker", "rm", "--force", *old)


def _answering(url: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own container
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise TimeoutError(f"{url} did not answer within {_PATIENCE_S:g} s")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
