"""The parts of a test cluster: processes that keep running after a test run, recognised by their command lines.

Another process may have got a recorded process id since, so only a process that runs our command gets a signal.
"""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup.process import gone, spawn
from deployd.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Parts:
    """What `commands.json` in the state directory names, in the order in which it starts."""

    state: Path

    def remember(self, commands: dict[str, list[str]]) -> None:
        """Write down the command lines, so that a later run can start and stop the parts too."""
        (self.state / "commands.json").write_text(json.dumps(commands, indent=1))

    def names(self) -> list[str]:
        """Every part, first started first; none when nothing is remembered."""
        return list(self._commands())

    def command(self, name: str) -> list[str]:
        """The command line of a part."""
        return self._commands()[name]

    def start(self, name: str) -> None:
        """Start the part; what it prints is in `<name>.log`."""
        places = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
        # Its parts share two cores with the tests: they take more memory and collect less garbage.
        pid = spawn(self.command(name), self.log(name), os.environ | {"PATH": places, "GOGC": "300"})
        (self.state / f"{name}.pid").write_text(str(pid))

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End the part, by SIGKILL when `kill`, and wait until it is gone; nothing happens when it does not run."""
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        patience, deadline = monotonic() + 10, monotonic() + 20
        while not gone(pid):
            if monotonic() > deadline:
                raise Unavailable(f"{name} does not end (process {pid})")
            if monotonic() > patience:
                os.kill(pid, signal.SIGKILL)
            sleep(0.02)

    def runs(self, name: str) -> bool:
        """Whether the part runs."""
        return self._pid(name) is not None

    def log(self, name: str) -> Path:
        """The file that holds all the part has printed."""
        return self.state / f"{name}.log"

    def _commands(self) -> dict[str, list[str]]:
        try:
            commands: dict[str, list[str]] = json.loads((self.state / "commands.json").read_text())
        except FileNotFoundError:
            return {}
        return commands

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.state / f"{name}.pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # In the instant of its exec a process has no words yet.
        ours = words in ([""], self._commands().get(name))
        return pid if ours and not gone(pid) else None
