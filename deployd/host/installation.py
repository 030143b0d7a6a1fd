"""The parts of deployd on a machine besides its program: an account, directories, a first secret, the units, a link.

`install` says what is to be done, and changes nothing itself. The units come from this package: each new version brings its own.
"""

import importlib.resources
import pwd
import re
import secrets
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import deployd
from deployd.errors import DeploydError
from deployd.host.act import Act, run

UNITS = ("deployd.socket", "deployd.service")
_IN_THE_UNITS = "/opt/deployd/.venv/bin/deployd"
# ProtectHome= and PrivateTmp= of the service.
_HIDDEN = tuple(map(Path, ("/root", "/home", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - nothing is written there
_FOR_ALL = """\
make an environment that every account can read, with a Python that every account can read, for example:
  /usr/bin/python3 -m venv /opt/deployd && /opt/deployd/bin/pip install WHEEL && /opt/deployd/bin/deployd install
  PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install --python /usr/bin/python3 WHEEL
  UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin uv tool install --python /usr/bin/python3 WHEEL"""


@dataclass(frozen=True, slots=True)
class Program:
    """The running command `deployd` and the location of its parts."""

    command: Path
    parts: tuple[Path, ...]

    @classmethod
    def running(cls) -> "Program":
        """The program that runs now."""
        command = Path(sysconfig.get_path("scripts")) / "deployd"
        if not command.exists():
            raise DeploydError(f"there is no {command}", hint="install deployd by pip, pipx or uv")
        return cls(
            command, (command.resolve(), Path(sys.executable).resolve(), Path(deployd.__file__ or ".").resolve())
        )

    def check(self) -> None:
        """DeploydError when the service could not read it."""
        for part in self.parts:
            for directory in _HIDDEN:
                if part.is_relative_to(directory):
                    raise DeploydError(f"{part} lies below {directory}, which the service does not see", hint=_FOR_ALL)
            for directory in part.parents:
                if directory.exists() and not directory.stat().st_mode & 0o001:
                    raise DeploydError(f"{directory} cannot be entered by the service's account", hint=_FOR_ALL)
        if re.fullmatch(r"[\w./+@:-]+", str(self.command)) is None:
            allowed = "its path may have only letters, digits and / . _ + @ : -"
            raise DeploydError(f"{self.command} cannot be written into a systemd unit: {allowed}")


@dataclass(frozen=True, slots=True)
class Site:
    """The places of deployd on a machine."""

    root: Path = Path("/")
    account: str = "deployd"

    @property
    def config(self) -> Path:
        """The directory of the config."""
        return self.root / "etc/deployd"

    @property
    def credentials(self) -> Path:
        """The directory of the files that systemd hands to the service."""
        return self.config / "credentials"

    @property
    def state(self) -> Path:
        """The directory of the database, the logs and the files of the gateway."""
        return self.root / "var/lib/deployd"

    @property
    def units(self) -> Path:
        """The directory of the machine's own units."""
        return self.root / "etc/systemd/system"

    @property
    def link(self) -> Path:
        """The command on everybody's PATH."""
        return self.root / "usr/local/bin/deployd"

    @property
    def systemd(self) -> bool:
        """Whether systemd runs here."""
        return (self.root / "run/systemd/system").is_dir()

    @property
    def has_account(self) -> bool:
        """Whether the account of the service is there."""
        return any(entry.pw_name == self.account for entry in pwd.getpwall())

    def install(self, program: Program) -> Iterator[Act]:
        """The acts that make deployd a service here, or renew it. They start nothing."""
        yield self._account()
        yield self._directory(self.config, 0o750, self.account)
        yield self._directory(self.credentials, 0o700)
        yield self._secret(self.credentials / "webhook_secret")
        for name in UNITS:
            yield _file(self.units / name, unit(name, program.command))
        yield _link(self.link, program.command)
        if self.systemd:
            yield Act("read", "the units, by systemd", partial(run, "systemctl", "daemon-reload"))

    def _account(self) -> Act:
        what = f"account {self.account}"
        if self.has_account:
            return Act("as it is", what)
        options = ("--system", "--user-group", "--home-dir", "/var/lib/deployd", "--shell", "/usr/sbin/nologin")
        return Act("made", what, partial(run, "useradd", *options, self.account))

    def _directory(self, path: Path, mode: int, group: str | None = None) -> Act:
        if path.is_dir():
            return Act("as it is", str(path))

        def make() -> None:
            path.mkdir(parents=True)
            path.chmod(mode)
            if group is not None:
                shutil.chown(path, group=group)

        return Act("made", f"{path} (mode {mode:04o}{f', group {group}' if group else ''})", make)

    def _secret(self, path: Path) -> Act:
        if path.exists():
            return Act("as it is", str(path))

        def make() -> None:
            path.touch(mode=0o600)
            path.write_text(f"{secrets.token_hex(32)}\n")

        return Act("made", f"{path}: a new secret for the webhook, which root can read", make)


def unit(name: str, command: Path) -> str:
    """The text of a unit of this version, for the program at `command`."""
    text = (importlib.resources.files("deployd.host") / "units" / name).read_text("utf-8")
    return text.replace(_IN_THE_UNITS, str(command))


def _file(path: Path, text: str) -> Act:
    """A unit that differs is kept beside the new one: somebody may have edited it in place."""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.chmod(0o644)
        if path.exists():
            path.replace(f"{path}.old")
        new.replace(path)

    if not path.exists():
        return Act("made", str(path), write)
    if path.read_text("utf-8", "replace") == text:
        return Act("as it is", str(path))
    return Act("renewed", f"{path}; the former one is {path.name}.old", write)


def _link(path: Path, command: Path) -> Act:
    def make() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(command)

    if path.resolve() == command.resolve():
        return Act("as it is", str(path))
    if path.exists() and not path.is_symlink():
        return Act("kept", f"{path}: it is a file of something else, and runs instead of {command}")
    return replace(Act("made", f"{path} -> {command}", make), done="renewed" if path.is_symlink() else "made")
