"""The bench of the service compares under equal conditions."""

import re

import pytest
from uvicorn.main import main

from bench.contenders import RIVALS, UVICORN_FLAGS
from bench.report import Report
from bench.serving import CEILING, CONNECTIONS, OURS, _judge
from model_service.__main__ import _configuration
from model_service.service import Service


async def test_the_ceiling_runs_with_the_uvicorn_flags_of_the_service(service: Service) -> None:
    ours = _configuration(service)
    given = main.make_context("uvicorn", ["app:app", *UVICORN_FLAGS]).params
    for name in ("ws", "lifespan", "access_log", "proxy_headers", "server_header", "date_header", "timeout_keep_alive"):
        assert given[name] == getattr(ours, name), name
    assert (given["loop"], given["http"]) == ("uvloop", "httptools")


def test_every_requirement_of_every_rival_has_an_exact_version() -> None:
    for name, rival in RIVALS.items():
        for requirement in rival.requirements:
            assert re.fullmatch(r"[a-z-]+==[0-9.]+", requirement), (name, requirement)


def test_a_rival_that_fails_in_a_later_round_does_not_remove_rounds_of_the_others() -> None:
    report = Report("serving")
    for turn, rate in enumerate((100.0, 200.0, 400.0)):
        for connections in CONNECTIONS:
            for name, share in ((OURS, 1), (CEILING, 2), ("fastapi", 0.1), ("mlflow", 0.2)):
                if turn and name == "mlflow":
                    continue
                report.sample(f"{name}: {connections} connections, throughput", rate * share, "requests/s")
                report.sample(f"{name}: {connections} connections, p99", 1 / share, "ms")
    report.withdraw("mlflow", "it ended")
    _judge(report, ["fastapi", "mlflow"])
    assert report.ratios["16 connections: x best peer"] == pytest.approx([10, 10, 10])
    assert not [figure for figure in report.samples if "mlflow" in figure]
    assert report.absences == {"mlflow": "it ended"}


def test_a_value_equal_to_the_limit_is_not_under_it() -> None:
    report = Report("serving")
    report.sample("ours", 1, "ms")
    report.bar("p99", "<", 1, "ours")
    assert (report.bars[0].bar, report.bars[0].holds) == ("under 1", False)
