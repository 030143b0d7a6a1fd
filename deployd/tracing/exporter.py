"""Sends spans to a receiver of OTLP over HTTP. The one door to OpenTelemetry, which is an extra: `deployd[otel]`.

Everything happens in a thread of its own, the import too. What a receiver that is away or slow does not take is dropped: a deploy
never waits for it. OpenTelemetry's own environment variables set the address, headers, timeout and further attributes.
"""

import importlib.metadata
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from deployd.tracing.spans import Span

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_MOST_UNSENT = 200
_THEIR_LOGGER = "opentelemetry"
Send = Callable[[Sequence[Span]], bool]


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a receiver, and does not switch traces off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = environment.get("OTEL_TRACES_EXPORTER", "").lower() == "none"
    return any(environment.get(name) for name in _ENDPOINTS) and not off and not none


class Exporter:
    """`instance` tells several daemons apart."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._unsent: queue.Queue[Sequence[Span] | None] = queue.Queue(_MOST_UNSENT)
        self._away = False
        self._thread = threading.Thread(target=self._serve, name="traces", daemon=True)
        self._thread.start()

    def close(self, wait: float = 0) -> None:
        """Drop what waits, and let the thread end after the try that is under way."""
        with suppress(queue.Empty):
            while True:
                self._unsent.get_nowait()
        self._unsent.put(None)
        self._thread.join(wait)

    def send(self, spans: Sequence[Span]) -> None:
        """Queue the spans for sending. Does not wait."""
        try:
            self._unsent.put_nowait(spans)
        except queue.Full:
            self._say_away("it is too slow")

    def _serve(self) -> None:
        try:
            send = _sender(self._instance)
        except ImportError as exc:
            logger.warning("No traces are sent: %s (docs/operations.md says how to install it)", exc)
            self._away = True  # that is all that is to be said
            return
        while (spans := self._unsent.get()) is not None:
            try:
                taken, why = send(spans), "it refuses them"
            except Exception as exc:  # noqa: BLE001 - whatever it is, traces are not worth more than a line in the log
                taken, why = False, repr(exc)
            if taken:
                self._away = False
            else:
                self._say_away(why)

    def _say_away(self, why: str) -> None:
        """Log once that the receiver is away, until it takes spans again."""
        if not self._away:
            logger.warning("Traces are lost, the receiver does not take them: %s", why)
        self._away = True


def _sender(instance: str) -> Send:
    """Sends spans and tells whether they were taken. Loads OpenTelemetry: ImportError when it is not installed."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    logging.getLogger(_THEIR_LOGGER).setLevel(logging.CRITICAL)  # it logs every try
    version = importlib.metadata.version("deployd")
    ours = {"service.name": "deployd", "service.version": version, "service.instance.id": instance}
    named = Resource.create().attributes  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
    resource = Resource({**named, **ours, **_given(named)})
    exporter = OTLPSpanExporter()

    def send(spans: Sequence[Span]) -> bool:
        return exporter.export([_made(span, resource, version) for span in spans]) is SpanExportResult.SUCCESS

    return send


def _given(named: Mapping[str, Any]) -> Mapping[str, Any]:
    """The service's name from the environment, if it gives one."""
    name = str(named.get("service.name", ""))
    return {} if not name or name.startswith("unknown_service") else {"service.name": name}


def _made(span: Span, resource: Any, version: str) -> Any:
    """The span as an object of OpenTelemetry."""
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415

    def context(of: int) -> SpanContext:
        return SpanContext(span.trace, of, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=span.name,
        context=context(span.id),
        parent=context(span.parent) if span.parent is not None else None,
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.fault) if span.fault else Status(StatusCode.UNSET),
        start_time=_nanoseconds(span.began),
        end_time=_nanoseconds(span.ended),
        instrumentation_scope=InstrumentationScope("deployd", version),
    )


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
