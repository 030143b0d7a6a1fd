"""The model service beside its rivals: wrk at 1, 16 and 64 connections, with one row and 100 rows per request.

In each round every server is started anew and measured alone. The ceiling is a bare ASGI callable with the same uvicorn flags.
wrk runs with one thread on the same machine, so it is part of every figure. Forests and boostings are measured beside
scikit-learn in one process instead (`ensembles.py`).
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from bench import ensembles
from bench.contenders import APPS, RIVALS, UVICORN_FLAGS, NotInstallable, Rival, installed
from bench.report import Report, interleaved
from bench.server import Contender, ask, filled, memory, ours, serving, trained

ROW = [5.8, 4.0, 1.2, 0.2]
CONNECTIONS = (1, 16, 64)
OURS, CEILING = "model_service", "ceiling"
# The same service with an estimator that is not a tree, with and without micro-batching.
BATCHED, SINGLE = "pipeline", "pipeline without batching"


def run(quick: bool, report: Report) -> None:
    """Measure, and compare the medians with the bars."""
    rounds, seconds = (1, 1) if quick else (3, 4)
    with tempfile.TemporaryDirectory(prefix="deployd-bench-") as scratch:
        contenders = _contenders(Path(scratch), report)
        for _, name in interleaved(rounds, contenders):
            if name not in report.absences:
                _measure(report, name, contenders[name], seconds)
        ensembles.run(quick, report, Path(scratch))
    peers = [name for name in contenders if name in RIVALS and RIVALS[name].peer]
    _judge(report, peers)
    report.note(
        f"{os.cpu_count()} CPUs, wrk -t1, {seconds} s per figure after 1 s of warm-up; the bars leave out requests of 100 rows"
    )


def _contenders(scratch: Path, report: Report) -> dict[str, Contender]:
    ceiling = (sys.executable, "-m", "uvicorn", "ceiling_app:app", "--port", "{port}", *UVICORN_FLAGS)
    pipeline = trained(scratch / "pipeline", "bench.pipeline_task")
    found = {
        OURS: ours(trained(scratch / "model", "model_service.iris")),
        CEILING: Contender(ceiling, "/", "instances", {}, APPS),
        BATCHED: ours(pipeline),
        SINGLE: ours(pipeline, "--batch-rows", "1"),
    }
    for name, rival in RIVALS.items():
        try:
            found[name] = _rival(rival, installed(rival))
        except NotInstallable as exc:
            report.absent(name, str(exc))
    return found


def _rival(rival: Rival, home: Path) -> Contender:
    known = {"bin": str(home / "venv/bin"), "dir": str(home)}
    command = tuple(filled(word, known) for word in rival.command)
    environment = {name: filled(value, known) for name, value in rival.env.items()} | {"RIVAL_DIR": str(home)}
    environment["PATH"] = f"{known['bin']}:{os.environ['PATH']}"
    return Contender(command, rival.path, rival.body, environment, APPS)


def _measure(report: Report, name: str, contender: Contender, seconds: int) -> None:
    """Measure one contender in one round, from its start to its end."""
    try:
        with serving(contender, _body(contender.body, 1)) as (process, url, started):
            report.sample(f"{name}: start", started, "s")
            for rows in (1, 100):
                for connections in CONNECTIONS:
                    figures = ask(url, _body(contender.body, rows), connections, seconds, process.pid)
                    kind = f"{name}: {connections} connections" + (", 100 rows" if rows > 1 else "")
                    report.sample(f"{kind}, throughput", figures["rate"], "requests/s")
                    report.sample(f"{kind}, p99", figures["p99"], "ms")
                    report.sample(f"{kind}, CPU", figures["cpu"], "µs/request")
                    if figures["failed"]:
                        report.note(f"{kind}: {figures['failed']:.0f} requests failed")
            report.sample(f"{name}: memory", memory(process.pid), "MB")
    except (TimeoutError, RuntimeError) as exc:
        report.withdraw(name, f"{type(exc).__name__}: {exc}")


def _judge(report: Report, peers: list[str]) -> None:
    for connections in CONNECTIONS:
        cell = f"{connections} connections"
        ours = f"{OURS}: {cell}"
        report.ratio(f"{cell}: of the ceiling", f"{ours}, throughput", f"{CEILING}: {cell}, throughput")
        report.bar(f"{cell}: share of the ceiling", ">=", 0.6, f"{cell}: of the ceiling")
        report.ratio(f"{cell}: x recipe", f"{ours}, throughput", f"recipe: {cell}, throughput")
        report.bar(f"{cell}: times the recipe", ">=", 20, f"{cell}: x recipe")
        report.ratio(f"{cell}: CPU to the ceiling's", f"{ours}, CPU", f"{CEILING}: {cell}, CPU")
        report.ratio(f"{cell}: the recipe's CPU to ours", f"recipe: {cell}, CPU", f"{ours}, CPU")
        report.ratio(f"{cell}: gain by batching", f"{BATCHED}: {cell}, throughput", f"{SINGLE}: {cell}, throughput")
        for peer in peers:
            report.ratio(f"{cell}: x {peer}", f"{ours}, throughput", f"{peer}: {cell}, throughput")
            report.ratio(f"{cell}: CPU of {peer} to ours", f"{peer}: {cell}, CPU", f"{ours}, CPU")
            report.ratio(f"{cell}: p99 / {peer}", f"{ours}, p99", f"{peer}: {cell}, p99")
        _judge_worst(report, cell, peers)
    report.bar("memory", "<=", 80, f"{OURS}: memory", "MB")
    report.bar("start to ready", "<=", 1, f"{OURS}: start", "s")


def _judge_worst(report: Report, cell: str, peers: list[str]) -> None:
    """The bars against the best peer: in each round, the worst of our ratios."""
    faster = [report.ratios[f"{cell}: x {peer}"] for peer in peers if f"{cell}: x {peer}" in report.ratios]
    steadier = [report.ratios[f"{cell}: p99 / {peer}"] for peer in peers if f"{cell}: p99 / {peer}" in report.ratios]
    if faster:
        report.ratios[f"{cell}: x best peer"] = [min(of_round) for of_round in zip(*faster, strict=True)]
        report.ratios[f"{cell}: p99 / best peer"] = [max(of_round) for of_round in zip(*steadier, strict=True)]
    report.bar(f"{cell}: times the best peer", ">=", 5, f"{cell}: x best peer")
    report.bar(f"{cell}: p99 to the best peer's", "<", 1, f"{cell}: p99 / best peer")


def _body(kind: str, rows: int) -> bytes:
    given = [ROW] * rows
    if kind == "v2":
        flat = [value for row in given for value in row]
        return json.dumps({"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": flat}]}).encode()
    return json.dumps({kind: given}).encode()
