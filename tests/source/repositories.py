"""Real git repositories for tests, made by plumbing commands so that they may hold what no ordinary command makes."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployd.config.app import App, Build

DATE = 1_700_000_000
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_ALLOW_PROTOCOL": "file",
}


@dataclass(frozen=True)
class Link:
    """A symbolic link in a tree."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A commit of another repository in a tree."""

    commit: str


@dataclass(frozen=True)
class Program:
    """An executable file in a tree."""

    content: bytes


Content = bytes | Link | Submodule | Program


@dataclass(frozen=True)
class Repository:
    """A bare repository at `path`."""

    path: Path

    @classmethod
    def create(cls, path: Path, *options: str) -> "Repository":
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", *options, str(path)], check=True, env=_ENVIRONMENT)
        repository = cls(path)
        repository.git("config", "http.getanyfile", "false")
        return repository

    def git(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
        """What a git command prints, stripped."""
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            check=True,
            env={**_ENVIRONMENT, **(environment or {})},
        )
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        branch: str | None = "main",
        subject: str = "Change something",
        date: int = DATE,
        author: str = "Ada",
    ) -> str:
        """A commit that holds exactly `files`, on top of `branch` (or of nothing, on no branch)."""
        parents = self._tip(branch) if branch else []
        moment = {"GIT_AUTHOR_DATE": f"{date} +0000", "GIT_COMMITTER_DATE": f"{date} +0000", "GIT_AUTHOR_NAME": author}
        parent_options = [option for parent in parents for option in ("-p", parent)]
        made = self.git(
            "commit-tree",
            self._tree(files),
            *parent_options,
            stdin=subject.encode("utf-8", "surrogateescape"),
            environment=moment,
        )
        if branch:
            self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def commit_of_tree(self, entries: list[tuple[str, bytes, str]], branch: str = "main") -> str:
        """A commit of one raw tree object: (mode, name, object id), unchecked and unsorted."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        tree = self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)
        made = self.git("commit-tree", tree, stdin=b"Crafted")
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def _tip(self, branch: str) -> list[str]:
        listed = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return [listed] if listed else []

    def _tree(self, files: Mapping[str, Content]) -> str:
        inner: dict[str, dict[str, Content]] = {}
        lines = []
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                inner.setdefault(head, {})[rest] = content
            else:
                lines.append(self._line(path, content))
        lines += [
            b"040000 tree %s\t%s" % (self._tree(below).encode(), os.fsencode(name)) for name, below in inner.items()
        ]
        return self.git("mktree", "-z", "--missing", stdin=b"".join(line + b"\0" for line in lines))

    def _line(self, name: str, content: Content) -> bytes:
        match content:
            case Submodule(commit):
                mode = f"160000 commit {commit}"
            case Link(target):
                mode = f"120000 blob {self.blob(os.fsencode(target))}"
            case Program(text):
                mode = f"100755 blob {self.blob(text)}"
            case _:
                mode = f"100644 blob {self.blob(content)}"
        return mode.encode() + b"\t" + os.fsencode(name)


def an_app(repo: str, *, build: Mapping[str, object] | None = None, **others: object) -> App:
    """An app of that repository that watches main."""
    watched = {} if "tag" in others else {"branch": "main"}
    given = {"name": "iris", "repo": repo, "gateway": {"listen": 8000}, **watched, **others}
    return App.model_validate({**given, "build": Build.model_validate(dict(build or {}))})


class Lines:
    """A ports.Log that keeps everything."""

    def __init__(self) -> None:
        self.text = ""
        self.hidden: list[str] = []

    def write(self, text: str) -> None:
        self.text += text

    def hide(self, secret: str) -> None:
        self.hidden.append(secret)

    def tail(self, lines: int = 10) -> str:
        return "\n".join(self.text.splitlines()[-lines:])
