"""The service as systemd has it: its user, its credentials and its sandbox, in which a command can be run to see what it sees."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from deployd.errors import ConfigError

UNIT = "deployd.service"

_SYSTEMD = Path("/run/systemd/system")
# Settings for starting, watching and stopping the daemon itself, and its runtime directory: it would go with the command.
_NOT_TAKEN = re.compile(
    r"Type|Exec\w+|Restart\w*|WatchdogSec|Timeout\w+|Kill\w+|NotifyAccess|Standard\w+|RuntimeDirectory\w*|Sockets|"
    r"FileDescriptorStoreMax|Success\w+|RemainAfterExit|PIDFile|GuessMainPID"
)


@dataclass(frozen=True, slots=True)
class Service:
    """The [Service] settings of deployd.service and its drop-ins, in order."""

    settings: tuple[tuple[str, str], ...]

    @property
    def command(self) -> list[str]:
        """The words of ExecStart."""
        return next((value.lstrip("@-:+!").split() for key, value in reversed(self.settings) if key == "ExecStart"), [])

    @property
    def config(self) -> Path | None:
        """The config file that it names to the daemon."""
        words = self.command
        return next((Path(word) for flag, word in pairwise(words) if flag in {"--config", "-c"}), None)

    @property
    def user(self) -> str:
        """The account that it runs as."""
        return next((value for key, value in reversed(self.settings) if key == "User" and value), "root")

    def credentials(self) -> Mapping[str, Path]:
        """Name -> the file of each LoadCredential= that names one."""
        found: dict[str, Path] = {}
        for key, value in self.settings:
            name, colon, path = value.partition(":")
            if key == "LoadCredential" and not value:
                found.clear()
            elif key == "LoadCredential" and colon and path.startswith("/"):
                found[name] = Path(path)
        return found

    def run(self, arguments: Sequence[str]) -> int:
        """Run `deployd ARGUMENTS` as the service would run it; its exit code. Needs root."""
        for name, path in self.credentials().items():
            if not path.exists():
                raise ConfigError(
                    f"{UNIT} loads the credential {name} from {path}, which is not there: the service cannot start",
                    hint=f"write the secret into {path}, or take the line LoadCredential={name}:{path} out of the unit",
                )
        properties = [f"--property={key}={value}" for key, value in self.settings if not _NOT_TAKEN.fullmatch(key)]
        environment = [f"--setenv={name}" for name in ("TERM", "COLUMNS") if name in os.environ]
        runtime = [value for key, value in self.settings if key == "RuntimeDirectory" and value]
        environment += [f"--setenv=RUNTIME_DIRECTORY=/run/{runtime[-1]}"] if runtime else []
        command = ["systemd-run", "--pipe", "--wait", "--quiet", "--collect", *properties, *environment]
        return subprocess.run([*command, *self.command[:1], *arguments], check=False).returncode


def installed() -> Service | None:
    """The service of this machine; None where systemd does not run or has no such unit."""
    if not _SYSTEMD.is_dir():
        return None
    shown = subprocess.run(["systemctl", "cat", UNIT], capture_output=True, text=True, check=False)
    return Service(tuple(settings_of(shown.stdout))) if shown.returncode == 0 else None


def settings_of(text: str) -> Iterator[tuple[str, str]]:
    """The assignments in the sections [Service] of unit files one after the other."""
    section = ""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped
        elif section == "[Service]" and stripped[:1] not in {"", "#", ";"}:
            key, _, value = stripped.partition("=")
            yield key.strip(), value.strip()
