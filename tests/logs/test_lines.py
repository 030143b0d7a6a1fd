"""Lines are found by counts of blocks, also while the log grows."""

from pathlib import Path

import pytest

from deployd.logs.lines import BLOCK, LineCounts


def content(size: int) -> bytes:
    lines = (b"line %d\n" % number for number in range(size))
    return b"".join(lines)


def test_every_line_is_found_where_it_is(tmp_path: Path) -> None:
    data = b"x" * (BLOCK - 1) + b"\n" + b"\n" * 5 + b"y" * (2 * BLOCK) + b"\n" + content(20_000) + b"open"
    path = tmp_path / "1.log"
    path.write_bytes(data)
    lines = LineCounts().of(path)
    split = data.split(b"\n")
    assert (lines.size, lines.count) == (len(data), len(split))
    starts = [0]
    for line in split[:-1]:
        starts.append(starts[-1] + len(line) + 1)
    for number in (1, 2, 3, 6, 7, 8, 9, 5000, 12_345, len(split)):
        assert lines.start_of(number) == starts[number - 1]
        assert lines.line_at(starts[number - 1]) == number
    assert lines.line_at(starts[8] - 1) == 8
    assert lines.start_of(len(split) + 1) == len(data)


@pytest.mark.parametrize(("data", "count"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)])
def test_a_last_line_without_an_end_counts(tmp_path: Path, data: bytes, count: int) -> None:
    (tmp_path / "1.log").write_bytes(data)
    assert LineCounts().of(tmp_path / "1.log").count == count


def test_counts_go_on_when_the_log_has_grown_and_begin_anew_when_it_was_replaced(tmp_path: Path) -> None:
    path, counts = tmp_path / "1.log", LineCounts()
    assert counts.of(path).count == 0
    for _ in range(3):
        with path.open("ab") as file:
            file.write(content(7_001))
        assert counts.of(path) == LineCounts().of(path)
    path.write_bytes(b"one\n")
    assert (counts.of(path).count, counts.of(path).ends) == (1, (1,))


def test_only_the_counts_of_some_logs_are_kept(tmp_path: Path) -> None:
    counts = LineCounts()
    for number in range(200):
        counts.of(tmp_path / f"{number}.log")
    assert len(counts._known) < 100
