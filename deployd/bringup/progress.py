"""Shows how far the steps of a set-up are: a progress bar on a terminal, plain lines elsewhere.

Writes to standard error, so that standard output stays free for results.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Step:
    """One running step. On a terminal it is a bar, which pulses while the total is unknown."""

    def __init__(self, bars: Bars | None, task: TaskID | None) -> None:
        self._bars = bars
        self._task = task
        self.done = 0.0

    def advance(self, amount: float = 1) -> None:
        """Add `amount` to what is done."""
        self.reach(self.done + amount)

    def reach(self, done: float, total: float | None = None) -> None:
        """Set what is done, and the total where it is known."""
        self.done = done
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)


class Progress:
    """Shows the steps of one set-up on a console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        """Show `title` while the block runs, and then how long it took."""
        began = monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Bars(*columns, console=self._console, transient=True) as bars:
                yield Step(bars, bars.add_task(title, total=total))
        else:
            self.say(f"{title} ...")
            yield Step(None, None)
        self.say(f"{title}: {monotonic() - began:.1f} s")
