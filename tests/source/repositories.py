"""Real git repositories, written object by object, so that they can contain what no ordinary git command creates.

Git itself makes only what a test asks it for: a process for each object and each ref would be slow.
"""

import hashlib
import io
import os
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from deployd.config.app import App, Build
from deployd.ports.source import Context

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
    """A bare repository at `path`, with SHA-1 or SHA-256 names."""

    path: Path
    sha256: bool = False

    @classmethod
    def create(cls, path: Path, *options: str) -> "Repository":
        for name, content in _empty(*options).items():
            place = path / name
            if content is None:
                place.mkdir(parents=True)
            else:
                place.write_bytes(content)
        return cls(path, sha256="--object-format=sha256" in options)

    def git(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
        """The output of a git command, stripped."""
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
        """A commit with exactly `files`, on top of `branch`; without a branch it has no parent."""
        tip = self.tip(branch) if branch else None
        made = self._commit(self._tree(files), [tip] if tip else [], subject, date, author)
        if branch:
            self.point(branch, made)
        return made

    def commit_of_tree(self, entries: list[tuple[str, bytes, str]], branch: str = "main") -> str:
        """A commit of one raw tree object with these entries (mode, name, object id), unchecked and unsorted."""
        made = self._commit(self.tree(entries), [], "Crafted", DATE, "Ada")
        self.point(branch, made)
        return made

    def tip(self, branch: str) -> str | None:
        """The commit at the tip of a branch."""
        ref, packed = self.path / "refs/heads" / branch, self.path / "packed-refs"
        if ref.is_file():
            return ref.read_text().strip()
        lines = packed.read_text().splitlines() if packed.exists() else []
        return next((line.split()[0] for line in lines if line.endswith(f" refs/heads/{branch}")), None)

    def point(self, branch: str, commit: str) -> None:
        """Let a branch lead to a commit, in one rename, since somebody may be reading."""
        ref, fresh = self.path / "refs/heads" / branch, self.path / "fresh-ref"
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(f"{commit}\n")
        fresh.replace(ref)

    def tree(self, entries: list[tuple[str, bytes, str]]) -> str:
        """A tree object of exactly these entries in this order."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self._object("tree", raw)

    def blob(self, content: bytes) -> str:
        return self._object("blob", content)

    def _object(self, kind: str, data: bytes) -> str:
        """Write a loose object as git does."""
        whole = b"%s %d\0" % (kind.encode(), len(data)) + data
        name = (hashlib.sha256 if self.sha256 else hashlib.sha1)(whole).hexdigest()
        path = self.path / "objects" / name[:2] / name[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(whole, 1))
        return name

    def _commit(self, tree: str, parents: list[str], subject: str, date: int, author: str) -> str:
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {author} <ada@example.com> {date} +0000", f"committer Ada <ada@example.com> {date} +0000"]
        text = "\n".join(lines) + f"\n\n{subject}\n"
        return self._object("commit", text.encode("utf-8", "surrogateescape"))

    def _tree(self, files: Mapping[str, Content]) -> str:
        inner: dict[str, dict[str, Content]] = {}
        entries = []
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                inner.setdefault(head, {})[rest] = content
            else:
                mode, name = self._entry(content)
                entries.append((mode, os.fsencode(path), name))
        entries += [("40000", os.fsencode(name), self._tree(below)) for name, below in inner.items()]
        # Git sorts directories as if their names ended with a slash.
        return self.tree(sorted(entries, key=lambda entry: entry[1] + b"/" * (entry[0] == "40000")))

    def _entry(self, content: Content) -> tuple[str, str]:
        match content:
            case Submodule(commit):
                return "160000", commit
            case Link(target):
                return "120000", self.blob(os.fsencode(target))
            case Program(text):
                return "100755", self.blob(text)
            case _:
                return "100644", self.blob(content)


@cache
def _empty(*options: str) -> dict[str, bytes | None]:
    """What `git init` writes for a bare repository, without its sample hooks: the content of files, None for directories."""
    with TemporaryDirectory() as made:
        command = ["git", "init", "-q", "--bare", "-b", "main", "--template=", *options, made]
        subprocess.run(command, check=True, env=_ENVIRONMENT)
        found = sorted(Path(made).rglob("*"))
        inside = {str(path.relative_to(made)): path.read_bytes() if path.is_file() else None for path in found}
    return {"": None, **inside}


def an_app(repo: str, *, build: Mapping[str, object] | None = None, **others: object) -> App:
    """An app that watches main of `repo`."""
    watched = {} if "tag" in others else {"branch": "main"}
    given = {"name": "iris", "repo": repo, "gateway": {"listen": 8000}, **watched, **others}
    return App.model_validate({**given, "build": Build.model_validate(dict(build or {}))})


class Lines:
    """A ports.Log in memory."""

    def __init__(self) -> None:
        self.text = ""
        self.hidden: list[str] = []

    def write(self, text: str) -> None:
        self.text += text

    def hide(self, secret: str) -> None:
        self.hidden.append(secret)

    def redact(self, text: str) -> str:
        for secret in self.hidden:
            text = text.replace(secret, "***")
        return text

    def tail(self, lines: int = 10) -> str:
        return "\n".join(self.text.splitlines()[-lines:])


async def tar_of(context: Context) -> dict[str, tarfile.TarInfo]:
    """The members of the context's tar by their names."""
    data = b"".join([piece async for piece in context.tar()])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}
