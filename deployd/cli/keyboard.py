"""Connects this terminal to a command that runs elsewhere: passes on every key, also Ctrl-C, and every change of the size."""

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from deployd.client import Client, TerminalName
from deployd.errors import RequestRefused
from deployd.terminal import Size, Terminal

_AT_ONCE = 16 * 1024  # the most that is sent in one request


def size() -> Size:
    """The size of the window."""
    columns, rows = shutil.get_terminal_size()
    return Size(rows, columns)


@contextmanager
def raw() -> Iterator[Terminal]:
    """Read the keys of this terminal unbuffered and unprocessed (raw mode). RequestRefused when standard input is none."""
    if not sys.stdin.isatty():
        raise RequestRefused(409, "standard input is not a terminal", hint="run it without -i and -t")
    descriptor, typed = sys.stdin.fileno(), Terminal(size())
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()
    try:
        tty.setraw(descriptor)
        loop.add_reader(descriptor, lambda: typed.put(os.read(descriptor, _AT_ONCE)))
        loop.add_signal_handler(signal.SIGWINCH, lambda: typed.put(size()))
        yield typed
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def pass_on(typed: Terminal, client: Client, terminal: TerminalName) -> None:
    """Send the typed keys, until cancelled or until the command has ended."""
    while True:
        try:
            await client.type(terminal, await typed.next())
        except RequestRefused:
            return
