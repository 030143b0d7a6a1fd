"""Traces over OTLP: a receiver on loopback, one that is away, and one that never answers."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import pytest

from deployd.status import Status
from deployd.tasks import beside
from deployd.tracing.exporter import Exporter, wanted
from deployd.tracing.spans import Span, spans
from deployd.tracing.tracing import Tracing
from tests.desk import MAIN, REPO, A, B, Desk, desk
from tests.tracing.test_spans import deploy_of


@contextmanager
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator["Queue[tuple[str, dict[str, str], bytes]]"]:
    """A receiver of OTLP; the path, headers and body of each request."""
    got: Queue[tuple[str, dict[str, str], bytes]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield got
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_trace_is_received_as_opentelemetry_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=models")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    failed = deploy_of(Status.FAILED, reason="no such package")
    with receiver(monkeypatch) as got:
        exporter = Exporter("production")
        exporter.send(spans(failed, "production"))
        path, headers, body = got.get(timeout=20)
        exporter.close(20)
    assert (path, headers["x-team"]) == ("/v1/traces", "models")
    (resource,) = proto.ExportTraceServiceRequest.FromString(body).resource_spans
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (named["service.name"], named["service.instance.id"]) == ("deployd", "production")
    assert named["deployment.environment.name"] == "test"
    (scope,) = resource.scope_spans
    whole, fetch, _ = scope.spans
    assert (whole.name, whole.parent_span_id, whole.status.code, whole.status.message) == (
        *("deploy iris", b""),
        *(2, "no such package"),
    )
    assert (fetch.name, fetch.parent_span_id, fetch.trace_id) == ("fetch", whole.span_id, whole.trace_id)
    assert fetch.end_time_unix_nano - fetch.start_time_unix_nano == 1_000_000_000
    assert {one.key: one.value.int_value for one in fetch.attributes}["deployd.deploy"] == 42


@pytest.mark.slow
def test_a_receiver_that_is_away_costs_nothing_but_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    exporter = Exporter("production")
    began = time.monotonic()
    for _ in range(1000):
        exporter.send(spans(deploy_of(), "production"))
    assert time.monotonic() - began < 1
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not caplog.records:
        time.sleep(0.05)
    exporter.send(spans(deploy_of(), "production"))
    began = time.monotonic()
    exporter.close()
    assert time.monotonic() - began < 0.5, "the end of the daemon waits for no receiver"
    exporter._thread.join(20)
    (warned,) = [record.getMessage() for record in caplog.records]
    assert warned.startswith("Traces are lost, the receiver does not take them: ")


def test_without_the_extra_a_warning_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    exporter = Exporter("production")
    exporter._thread.join(20)
    for _ in range(1000):
        exporter.send(spans(deploy_of(), "production"))
    (warned,) = [record.getMessage() for record in caplog.records]
    assert warned.startswith("No traces are sent: ")
    assert "docs/operations.md says how to install it" in warned


def test_traces_are_sent_only_where_the_environment_names_a_receiver() -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert wanted(there)
    assert wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"})
    for off in ({}, {**there, "OTEL_SDK_DISABLED": "true"}, {**there, "OTEL_TRACES_EXPORTER": "none"}):
        assert not wanted(off)


class Sent:
    """What would go to a receiver."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._more = asyncio.Event()

    def take(self, spans: Sequence[Span]) -> None:
        self.spans += spans
        self._more.set()

    @property
    def wholes(self) -> list[Span]:
        return [span for span in self.spans if span.parent is None]

    async def has(self, *names: str) -> None:
        """Wait for spans of these names."""
        async with asyncio.timeout(20):
            while not {*names} <= {span.name for span in self.spans}:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def traced(daemon: Desk) -> AsyncIterator[Sent]:
    sent = Sent()
    async with beside(Tracing(daemon.store, daemon.events, "test", sent.take).serve()):
        await asyncio.sleep(0)  # it follows the events from here on
        yield sent


async def test_a_deploy_is_sent_when_it_is_live_and_each_later_step_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as daemon, traced(daemon) as sent:
        await daemon.deployed(A)
        await sent.has("prune")
    names = [span.name for span in sent.spans]
    assert names[0] == "deploy iris"
    assert {"fetch", "build", "candidate", "cut-over", "drain", "prune"} <= {*names}
    assert len(names) == len({*names})
    assert {span.trace for span in sent.spans} == {sent.spans[0].trace}


async def test_a_deploy_that_fails_is_sent_with_its_reason(tmp_path: Path) -> None:
    async with desk(tmp_path) as daemon, traced(daemon) as sent:
        daemon.builder.broken.add(A)
        daemon.source.remotes[REPO][MAIN] = A
        await daemon.scheduler.deploy("iris", A, "a test")
        await sent.has("deploy iris", "build")
    assert [whole.fault for whole in sent.wholes] == ["the command returned 1"]


async def test_a_release_that_is_retired_is_not_sent_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as daemon:
        await daemon.deployed(A)  # before anybody follows, as before a restart
        await _pruned(daemon)
        async with traced(daemon) as sent:
            await daemon.deployed(B)
            await sent.has("deploy iris", "prune")
    assert [whole.attributes["deployd.deploy"] for whole in sent.wholes] == [2]


async def _pruned(daemon: Desk) -> None:
    async with asyncio.timeout(20):
        async for event in daemon.events.watch(after=0):
            if event.kind == "step" and (event.data["name"], event.data["status"]) == ("prune", "done"):
                return
