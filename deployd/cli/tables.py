"""Tables for a person on a terminal, who sees no line wrapped, and for a script behind a pipe, where nothing is cut."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from deployd.cli.output import out
from deployd.logs.log import printable

_GAP = 2
_LEAST = 8  # a column is not cut further than to this


@dataclass(frozen=True, slots=True)
class Listing:
    """Columns and rows. Where they are too wide, the last column, if it is named `below`, goes to a line below each row, and the
    column `cut` is cut."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    cut: str | None = None
    below: str | None = None
    least: Sequence[int] = ()  # the widths of the columns, at least

    def widths(self) -> list[int]:
        """The widths that the cells want."""
        head = [[_cell(name) for name in self.columns]]
        cells = zip(*head, *([_cell(cell) for cell in row] for row in self.rows), strict=True)
        wanted = [max(cell_len(cell.plain) for cell in column) for column in cells]
        return [max(pair) for pair in zip_longest(wanted, self.least, fillvalue=0)]

    def lines(self, room: int | None = None) -> list[list[Text]]:
        """The lines of the head and of each row, without frames; without `room`, each is one."""
        head = [Text(name, "bold") for name in self.columns]
        body = [[_cell(cell) for cell in row] for row in self.rows]
        widths = self.widths()
        under = room is not None and _wide(widths) > room and self.columns[-1] == self.below
        shown = widths[:-1] if under else widths
        if room is not None and self.cut is not None:
            at = self.columns.index(self.cut)
            shown[at] = max(shown[at] - max(_wide(shown) - room, 0), min(shown[at], _LEAST))
        rest = [_under(row[-1], room or 0) if under else [] for row in body]
        return [[_line(head, shown)], *([_line(row, shown), *more] for row, more in zip(body, rest, strict=True))]


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, cut: str | None = None, below: str | None = None
) -> None:
    """Print a listing, as wide as the terminal."""
    print_listing(Listing(columns, list(rows), cut, below))


def print_listing(listing: Listing) -> None:
    """Print it, as wide as the terminal."""
    for lines in listing.lines(room()):
        for line in lines:
            out().print(line, soft_wrap=True)


def room() -> int | None:
    """The columns of the terminal; None behind a pipe."""
    return out().width if out().is_interactive else None


def print_comparison(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print columns whose cells are as long as they want: on a terminal they are folded."""
    if room() is None:
        print_table(columns, rows)
        return
    table = Table(*columns, box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(_cell, row))
    out().print(table)


def _cell(cell: str | Text) -> Text:
    return Text(printable(cell)) if isinstance(cell, str) else cell.copy()


def _under(cell: Text, room: int) -> list[Text]:
    """The lines below a row, if there are any."""
    if cell.plain in {"", "-"}:
        return []
    line = Text("  ") + cell
    line.truncate(room, overflow="ellipsis")
    return [line]


def _wide(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    line = Text()
    for at, (cell, width) in enumerate(zip(row, widths, strict=False)):
        last = at == len(widths) - 1
        cell.truncate(width, overflow="ellipsis", pad=not last)
        line += cell if last else cell + Text(" " * _GAP)
    line.rstrip()
    return line
