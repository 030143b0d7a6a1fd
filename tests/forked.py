"""Daemons that are forked from a process which has loaded their code. An exec would load it anew each time, for two thirds of a
second of a core, and the tests start hundreds. The tests of the demo, of the manual, of a new repository and of the booted
machine start `python -m deployd` itself.
"""

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from deployd.bringup.daemon import DemoDaemon

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.forked_code"])


class Forked:
    """A forked process, with what asyncio's processes have."""

    def __init__(self, program: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        given = (program, tuple(arguments), dict(environment), str(log))
        self._process = ForkServerProcess(target=_run, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    async def wait(self) -> int:
        """Wait until it ends; its return code."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        code = self.returncode
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ForkedDaemon(DemoDaemon):
    """A daemon of a test. With LD_PRELOAD it is started by an exec, since only that loads a library."""

    async def start(self) -> None:
        """Fork the process, without waiting until it answers."""
        if "LD_PRELOAD" in self.environment:
            await super().start()
            return
        _, module = self.program
        self.process = Forked(module, self.arguments, self.whole_environment, self.log)


def _run(program: str, arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
