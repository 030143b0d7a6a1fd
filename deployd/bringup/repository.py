"""A git repository for the demo, in place of one on GitHub: a bare remote, a working copy, pushes, and GitHub's webhooks."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from deployd.errors import ConfigError

_WITHIN_S = 60.0
_FILES = ("Dockerfile", ".dockerignore", "model_service")
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))
}


class Repository:
    """`github.com/acme/iris`: a remote and a working copy."""

    def __init__(self, directory: Path) -> None:
        self.remote = directory / "acme" / "iris.git"
        self.work = directory / "work"
        self.head = "0" * 40

    def create(self) -> None:
        """Create the remote and the working copy, both empty."""
        self.remote.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self._git("clone", "--quiet", str(self.remote), str(self.work))
        self._git("checkout", "--quiet", "-b", "main", cwd=self.work)

    def add_model_service(self) -> None:
        """Copy the model service of this checkout into the working copy; ConfigError when there is no checkout."""
        root = Path(__file__).resolve().parents[2]
        if not all((root / name).exists() for name in _FILES):
            raise ConfigError(
                "the demo needs a checkout of deployd",
                hint="it deploys the Dockerfile and model_service of the checkout",
            )
        for name in _FILES:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy
            copy(root / name, self.work / name)
        for cache in list(self.work.rglob("__pycache__")):
            shutil.rmtree(cache)

    def write(self, path: str, text: str) -> None:
        """Write a file of the working copy."""
        (self.work / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace `old` by `new` in a file of the working copy; ConfigError when it does not contain `old`."""
        text = (self.work / path).read_text()
        if old not in text:
            raise ConfigError(f"{path} does not contain {old!r}")
        (self.work / path).write_text(text.replace(old, new))

    def push(self, subject: str) -> dict[str, Any]:
        """Commit all changes and push them; return the payload of GitHub's push event."""
        before = self.head
        self._git("add", "--all", cwd=self.work)
        self._git("commit", "--quiet", "--allow-empty", "-m", subject, cwd=self.work)
        self._git("push", "--quiet", "origin", "main", cwd=self.work)
        self.head = self._git("rev-parse", "HEAD", cwd=self.work).strip()
        return {
            "ref": "refs/heads/main",
            "before": before,
            "after": self.head,
            "created": before == "0" * 40,
            "deleted": False,
            "forced": False,
            "base_ref": None,
            "compare": "",
            "head_commit": {"id": self.head, "message": subject},
            "repository": {"id": 1, "full_name": "acme/iris", "html_url": "https://github.com/acme/iris"},
            "pusher": {"name": "ada"},
        }

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, env=environment | _IDENTITY, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ConfigError(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout


async def deliver(url: str, secret: str, payload: Mapping[str, Any], guid: str | None = None) -> httpx.Response:
    """Send a push event to deployd as GitHub does: signed, and with a GUID."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid or str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as client:
        return await client.post(f"{url}/webhooks/github", content=body, headers=headers)
