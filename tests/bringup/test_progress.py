import io

import pytest
from rich.console import Console

from deployd.bringup.progress import Progress


def printed_on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_a_step_is_two_plain_lines() -> None:
    console = Console(file=io.StringIO())
    with Progress(console).step("making [it]", total=3) as step:
        step.advance()
        step.reach(3)
    first, last = printed_on(console).splitlines()
    assert first == "making [it] ..."
    assert last.startswith("making [it]: ")
    assert last.endswith(" s")


def test_a_step_that_fails_is_not_shown_as_done() -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(ValueError, match="broken"), Progress(console).step("making it"):
        raise ValueError("broken")
    assert printed_on(console) == "making it ...\n"


def test_a_long_line_is_not_wrapped() -> None:
    console = Console(file=io.StringIO(), width=40)
    Progress(console).say("word " * 40)
    assert printed_on(console).count("\n") == 1


def test_on_a_terminal_a_step_is_a_bar_that_ends_as_one_line() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(console).step("making it", total=2) as step:
        step.advance(2)
    assert "━" in printed_on(console)
    assert printed_on(console).rstrip().endswith(" s")
