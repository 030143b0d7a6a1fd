import io

import pytest
from rich.console import Console

from deployd.bringup.progress import Progress


def spoken_by(progress_of: Console) -> str:
    assert isinstance(progress_of.file, io.StringIO)
    return progress_of.file.getvalue()


def test_without_a_terminal_a_step_is_two_plain_lines() -> None:
    console = Console(file=io.StringIO())
    with Progress(console).step("making [it]", total=3) as step:
        step.advance()
        step.reach(3)
    first, last = spoken_by(console).splitlines()
    assert first == "making [it] ..."
    assert last.startswith("making [it]: ")
    assert last.endswith(" s")


def test_a_step_that_fails_is_not_told_as_done() -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(ValueError, match="broken"), Progress(console).step("making it"):
        raise ValueError("broken")
    assert spoken_by(console) == "making it ...\n"


def test_a_long_line_is_not_broken() -> None:
    console = Console(file=io.StringIO(), width=40)
    Progress(console).say("word " * 40)
    assert spoken_by(console).count("\n") == 1


def test_on_a_terminal_a_step_is_a_bar_that_ends_as_one_line() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(console).step("making it", total=2) as step:
        step.advance(2)
    assert "━" in spoken_by(console)
    assert spoken_by(console).rstrip().endswith(" s")
