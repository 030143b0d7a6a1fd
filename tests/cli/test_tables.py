"""Tables on a terminal of 80 columns, and behind a pipe."""

import io

import pytest
from rich.console import Console

from deployd.cli import tables
from deployd.cli.tables import Listing, print_table

COLUMNS = ("DEPLOY", "STATUS", "SUBJECT", "REASON")
ROWS = [
    ("iris/42", "failed", "Fix the training of the model", "no such package: torhc; the command returned 1 after 20 s"),
    ("iris/41", "live", "Short", ""),
]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> io.StringIO:
    terminal, width = request.param
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    monkeypatch.setattr(tables, "out", lambda: console)
    assert isinstance(console.file, io.StringIO)
    return console.file


@pytest.mark.parametrize("printed", [(True, 60)], indirect=True)
def test_on_a_narrow_terminal_the_last_column_goes_below_and_no_line_is_wider(printed: io.StringIO) -> None:
    print_table(COLUMNS, ROWS, cut="SUBJECT", below="REASON")
    lines = printed.getvalue().splitlines()
    assert lines == [
        "DEPLOY   STATUS  SUBJECT",
        "iris/42  failed  Fix the training of the model",
        "  no such package: torhc; the command returned 1 after 20 s",
        "iris/41  live    Short",
    ]


@pytest.mark.parametrize("printed", [(True, 36)], indirect=True)
def test_on_a_very_narrow_one_a_column_is_cut(printed: io.StringIO) -> None:
    print_table(COLUMNS, ROWS, cut="SUBJECT", below="REASON")
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 36
    assert lines[1] == "iris/42  failed  Fix the training o…"
    assert lines[2] == "  no such package: torhc; the comma…"


def test_later_rows_can_be_given_the_widths_of_earlier_ones() -> None:
    first, later = (
        Listing(COLUMNS, ROWS),
        Listing(COLUMNS, [("a", "b", "c", "d")], least=Listing(COLUMNS, ROWS).widths()),
    )
    places = [
        [line.plain.index(word) for word in words]
        for line, words in (
            (first.lines()[2][0], ("iris/41", "live", "Short")),
            (later.lines()[1][0], ("a", "b", "c")),
        )
    ]
    assert places[0] == places[1]


@pytest.mark.parametrize("printed", [(True, 160), (False, 60)], indirect=True)
def test_with_enough_room_or_behind_a_pipe_each_row_is_one_whole_line(printed: io.StringIO) -> None:
    print_table(COLUMNS, ROWS, cut="SUBJECT", below="REASON")
    lines = printed.getvalue().splitlines()
    assert lines[0].split() == list(COLUMNS)
    assert lines[1].endswith("after 20 s")
    assert len(lines) == 3
