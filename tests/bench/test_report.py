"""The report that all benches fill."""

import json

import pytest
from rich.console import Console

from bench.report import Report, interleaved


def test_ratios_pair_the_samples_of_one_round() -> None:
    report = Report("serving")
    for ours, theirs in ((10, 5), (40, 10), (9, 3)):
        report.sample("ours", ours, "req/s")
        report.sample("theirs", theirs, "req/s")
    report.ratio("ours / theirs", "ours", "theirs")
    report.bar("faster", ">=", 3, "ours / theirs")
    assert report.as_json()["ratios"] == {"ours / theirs": {"median": 3, "min": 2, "max": 4}}
    assert report.as_json()["bars"] == [{"name": "faster", "bar": "at least 3", "value": 3, "holds": True}]
    assert report.rounds == 3


def test_a_bar_without_a_measurement_neither_holds_nor_fails() -> None:
    report = Report("serving")
    report.ratio("ours / theirs", "ours", "theirs")
    report.bar("faster", ">=", 3, "ours / theirs")
    assert report.bars[0].holds is None


def test_absent_rivals_are_shown_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("serving")
    report.sample("ours", 1, "s")
    report.absent("rival", "it needs [a GPU]")
    report.show(Console(width=120))
    assert "absent: rival: it needs [a GPU]" in capsys.readouterr().out
    assert json.loads(json.dumps(report.as_json()))["absent"] == {"rival": "it needs [a GPU]"}


def test_each_round_starts_with_another_contender() -> None:
    assert list(interleaved(3, "ab")) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
