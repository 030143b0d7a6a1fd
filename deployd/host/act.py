"""One change that `deployd install` or `deployd uninstall` makes on this machine, or finds already made."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from deployd.errors import DeploydError


@dataclass(frozen=True, slots=True)
class Act:
    """`done` is the verb once it is done, such as `made`, `what` its object. Without `do` there is nothing to do."""

    done: str
    what: str
    do: Callable[[], object] | None = None


def run(*command: str) -> None:
    """Run a program of the host; DeploydError, with what it said, when it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError as exc:
        raise DeploydError(f"this machine has no program {command[0]}") from exc
    if done.returncode:
        raise DeploydError(f"`{' '.join(command)}` failed", hint=done.stdout.strip())
