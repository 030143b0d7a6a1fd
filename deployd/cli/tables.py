"""Tables for a person on a terminal, who sees no line wrapped, and for a script behind a pipe, where nothing is cut."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from deployd.cli.output import out
from deployd.logs.log import printable

_GAP = 2
_LEAST = 8  # a column is not cut further than to this


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, cut: str | None = None, below: str | None = None
) -> None:
    """Print columns without frames. On a terminal that is too narrow, the last column, if it is named `below`, goes to a line
    below each row, and the column `cut` is cut."""
    head = [Text(name, "bold") for name in columns]
    body = [[_cell(cell) for cell in row] for row in rows]
    room = out().width if out().is_terminal else None
    widths = [max(cell_len(row[at].plain) for row in [head, *body]) for at in range(len(columns))]
    under = room is not None and _wide(widths) > room and columns[-1] == below
    shown = widths[:-1] if under else widths
    if room is not None and cut is not None:
        at = columns.index(cut)
        shown[at] = max(shown[at] - max(_wide(shown) - room, 0), min(shown[at], _LEAST))
    for row in [head, *body]:
        out().print(_line(row, shown), soft_wrap=True)
        if under and row is not head and row[-1].plain not in {"", "-"}:
            rest = Text("  ") + row[-1]
            rest.truncate(room or 0, overflow="ellipsis")
            out().print(rest, soft_wrap=True)


def print_comparison(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print columns whose cells are as long as they want: they are folded."""
    table = Table(*columns, box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(_cell, row))
    out().print(table)


def age(moment: datetime | None) -> str:
    """How long ago that was, as kubectl says it: `9s`, `3m20s`, `5h`, `12d`."""
    if moment is None:
        return "-"
    seconds = max(int((datetime.now(UTC) - moment).total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    return f"{hours}h" if hours < 48 else f"{days}d"


def _cell(cell: str | Text) -> Text:
    return Text(printable(cell)) if isinstance(cell, str) else cell.copy()


def _wide(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    line = Text()
    for at, (cell, width) in enumerate(zip(row, widths, strict=False)):
        last = at == len(widths) - 1
        cell.truncate(width, overflow="ellipsis", pad=not last)
        line += cell if last else cell + Text(" " * _GAP)
    return line
