"""The hot routes as a bare ASGI callable in front of the FastAPI application: one parse, one walk, one write.

Every other path goes through to the application. Here also: limits (413, 503), the request id, and what every answer gets
while the service is on its way out. A bug ends in a 500 with its traceback in the log, never in the answer.
"""

import asyncio
import contextlib
import json
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from model_service.errors import BodyUnread, RequestRejected
from model_service.meters import OTHER, ROUTES
from model_service.model import Answer
from model_service.parsing import LARGE_BODY, parse_json
from model_service.patience import Begun, Patience
from model_service.service import Service
from model_service.v2 import Inference

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]
Reply = tuple[list[tuple[bytes, bytes]], bytes]  # content headers and content
Rows = list[list[float]]

_ID = b"x-request-id"
_JSON_LENGTH = b"inference-header-content-length"
_JSON = [(b"content-type", b"application/json")]
_CLOSE = (b"connection", b"close")
# What a caller may still send after its answer, so that no reset overtakes it.
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 1024 * 1024

log = logging.getLogger(__name__)


def _start(status: int, headers: Sequence[tuple[bytes, bytes]], length: int) -> Message:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", b"%d" % length)],
    }


_STARTS = [_start(200, _JSON, length) for length in range(1024)]  # how nearly every answer begins


class _CallerGone(Exception):
    """The caller hung up before its request was read."""


class HotRoute(NamedTuple):
    """How the requests of a route are read and its answers written; what `read` gives beside the rows goes to `write`."""

    number: int  # in meters.ROUTES
    read: Callable[[bytes, Headers], tuple[Rows, Any]]
    write: Callable[[Any, Sequence[Answer]], Reply]


class Front:
    """Answers POST on the hot paths, passes everything else to `rest`; counts both."""

    def __init__(self, service: Service, rest: App) -> None:
        self._service = service
        self._rest = rest
        self._in_flight = 0
        self._patience = Patience(service.settings.body_timeout)
        manifest = service.manifest
        self._tail = b'],"model":{"name":%b,"version":%b}}' % (
            json.dumps(manifest.name).encode(),
            json.dumps(manifest.version).encode(),
        )
        infer = HotRoute(ROUTES.index("infer"), self._read_infer, self._write_infer)
        self._hot = {
            "/predict": HotRoute(ROUTES.index("predict"), self._read_predict, self._write_predict),
            "/api": HotRoute(ROUTES.index("api"), self._read_recipe, self._write_recipe),
            f"/v2/models/{manifest.name}/infer": infer,
            f"/v2/models/{manifest.name}/versions/{manifest.version}/infer": infer,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        started = time.perf_counter()
        route = self._hot.get(scope["path"])
        if route is None:
            status = await self._pass_on(scope, receive, send)
            self._service.meters.request(OTHER, status, time.perf_counter() - started)
        else:
            await self._answer(route, scope, receive, send, started)

    def _read_predict(self, body: bytes, _headers: Headers) -> tuple[Rows, None]:
        return self._service.rows.listed(parse_json(body), "instances"), None

    def _write_predict(self, _asked: None, answers: Sequence[Answer]) -> Reply:
        said = answers[0].json if len(answers) == 1 else b",".join([answer.json for answer in answers])
        return _JSON, b'{"predictions":[' + said + self._tail

    def _read_recipe(self, body: bytes, _headers: Headers) -> tuple[Rows, None]:
        return self._service.rows.listed(parse_json(body), "feature"), None

    def _write_recipe(self, _asked: None, answers: Sequence[Answer]) -> Reply:
        first = answers[0]
        return _JSON, b"%d" % first.chosen if first.chosen >= 0 else repr(first.value).encode()

    def _read_infer(self, body: bytes, headers: Headers) -> tuple[Rows, Inference]:
        asked = self._service.protocol.read(body, headers.get(_JSON_LENGTH))
        return asked.rows, asked

    def _write_infer(self, asked: Inference, answers: Sequence[Answer]) -> Reply:
        content, json_length = self._service.protocol.write(asked, answers)
        if json_length is None:
            return _JSON, content
        return [(b"content-type", b"application/octet-stream"), (_JSON_LENGTH, b"%d" % json_length)], content

    async def _answer(self, route: HotRoute, scope: Scope, receive: Receive, send: Send, started: float) -> None:
        """Answers one request on a hot path, and counts it."""
        service, headers, unread = self._service, dict(scope["headers"]), False
        self._in_flight += 1
        try:
            self._admit(scope)
            body = await self._body(headers, receive)
            if len(body) > LARGE_BODY or b"content-encoding" in headers:
                rows, asked = await asyncio.to_thread(self._read_aside, route, body, headers)
            else:
                rows, asked = route.read(body, headers)
            answers = service.predict_quickly(rows) or await service.predict(rows)
            service.meters.predicted(route.number, rows, answers)
            status, (about, content) = 200, route.write(asked, answers)
        except RequestRejected as rejected:
            status, about, unread = rejected.status, _rejection_headers(rejected), isinstance(rejected, BodyUnread)
            content = json.dumps({"error": rejected.message}, ensure_ascii=False).encode(errors="backslashreplace")
        except _CallerGone:
            service.meters.request(route.number, 499, time.perf_counter() - started)
            return
        except Exception:
            log.exception("Request failed on %s", scope["path"])
            status, about, content = 500, _JSON, b'{"error": "internal error"}'
        finally:
            self._in_flight -= 1
        if _ID in headers or service.draining or about is not _JSON or status != 200:
            await send(_start(status, [*about, *self._always(headers)], len(content)))
        else:
            await send(_STARTS[len(content)] if len(content) < len(_STARTS) else _start(200, _JSON, len(content)))
        await send({"type": "http.response.body", "body": content, "more_body": unread})
        service.meters.request(route.number, status, time.perf_counter() - started)
        if unread:
            await _outlast(receive)
            await send({"type": "http.response.body"})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Lets the application answer; its status."""
        always = self._always(dict(scope["headers"]))
        status = 499

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *always]
            await send(message)

        await self._rest(scope, receive, sending)
        return status

    def _always(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        always = [(_ID, headers[_ID][:200])] if _ID in headers else []
        if self._service.draining:
            always.append(_CLOSE)
        return always

    def _admit(self, scope: Scope) -> None:
        if scope["method"] != "POST":
            raise RequestRejected(405, f"{scope['path']} takes POST")
        if self._in_flight > self._service.settings.max_waiting:
            raise RequestRejected(503, "too many requests at once", retry_after=1)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._service.settings.max_body
        if int(headers.get(b"content-length", 0)) > limit:
            raise BodyUnread(413, f"the body is larger than {limit} bytes")
        waiting = receive().__await__()
        try:
            pending = next(waiting)
        except StopIteration as ready:  # a small body came with its head: there is nothing to wait for
            message = ready.value
            body: bytes = message.get("body", b"")
            if message.get("more_body") or message["type"] != "http.request":
                body = await self._patience.with_one(_rest_of_body(message, receive, limit))
            elif len(body) > limit:  # no Content-Length announced it
                raise RequestRejected(413, f"the body is larger than {limit} bytes") from None
        else:
            body = await self._patience.with_one(_late_body(Begun(waiting, pending), receive, limit))
        return body

    def _read_aside(self, route: HotRoute, body: bytes, headers: Headers) -> tuple[Rows, Any]:
        """In a thread: what would hold up every other request."""
        encoding = headers.get(b"content-encoding", b"identity")
        return route.read(_inflated(body, encoding, self._service.settings.max_body), headers)


async def _late_body(first: Awaitable[Message], receive: Receive, limit: int) -> bytes:
    return await _rest_of_body(await first, receive, limit)


async def _rest_of_body(message: Message, receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] != "http.request":
            raise _CallerGone
        body += message.get("body", b"")
        if len(body) > limit:
            kind = BodyUnread if message.get("more_body") else RequestRejected
            raise kind(413, f"the body is larger than {limit} bytes")
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


async def _outlast(receive: Receive) -> None:
    """Reads and drops the rest of a body that was refused, within bounds: closing on unread bytes resets the connection."""
    left = _LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def _inflated(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body of a request sent with Content-Encoding gzip or deflate, no larger than the limit."""
    if encoding.lower() == b"identity":
        return body
    if encoding.lower() not in (b"gzip", b"deflate"):
        raise RequestRejected(415, "Content-Encoding: expected gzip, deflate or none")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, as its header says
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error as exc:
        raise RequestRejected(400, f"the body is not {encoding.decode()}: {exc}") from exc
    if len(content) > limit:
        raise RequestRejected(413, f"the body is larger than {limit} bytes once decompressed")
    if not inflater.eof:
        raise RequestRejected(400, "the compressed body is cut short")
    return content


def _rejection_headers(rejected: RequestRejected) -> list[tuple[bytes, bytes]]:
    headers = [*_JSON]
    if rejected.retry_after is not None:
        headers.append((b"retry-after", b"%d" % rejected.retry_after))
    if rejected.status == 405:
        headers.append((b"allow", b"POST"))
    if isinstance(rejected, BodyUnread):
        headers.append(_CLOSE)
    return headers
