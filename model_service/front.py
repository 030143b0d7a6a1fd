"""The hot routes as a bare ASGI callable in front of the FastAPI application: one parse, one walk, one write.

Every other path goes through to the application. Here also: limits (413, 503), the request id, and what every answer gets
while the service is on its way out. A bug ends in a 500 with its traceback in the log, never in the answer.
"""

import asyncio
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from model_service.errors import RequestRejected
from model_service.rows import parse_json
from model_service.service import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]
Handler = Callable[[bytes, Headers], Awaitable[bytes]]

_READ_HEADERS = frozenset({b"content-length", b"content-encoding", b"x-request-id"})
_ID = b"x-request-id"
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")

log = logging.getLogger(__name__)


class _CallerGone(Exception):
    """The caller hung up before its request was read."""


class Front:
    """Answers POST on the hot paths, passes everything else to `rest`."""

    def __init__(self, service: Service, rest: App) -> None:
        self._service = service
        self._rest = rest
        self._in_flight = 0
        manifest = service.manifest
        self._tail = b'],"model":{"name":%b,"version":%b}}' % (
            json.dumps(manifest.name).encode(),
            json.dumps(manifest.version).encode(),
        )
        self._hot: dict[str, Handler] = {"/predict": self._predict, "/api": self._recipe}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if scope["type"] == "http":
            handler = self._hot.get(scope["path"])
            if handler is not None:
                await self._answer(handler, scope, receive, send)
                return
        await self._rest(scope, receive, send)

    async def _predict(self, body: bytes, _headers: Headers) -> bytes:
        rows = self._service.rows.listed(parse_json(body), "instances")
        answers = await self._service.predict(rows)
        return b'{"predictions":[' + b",".join([answer.json for answer in answers]) + self._tail

    async def _recipe(self, body: bytes, _headers: Headers) -> bytes:
        rows = self._service.rows.listed(parse_json(body), "feature")
        answer = (await self._service.predict(rows))[0]
        return b"%d" % answer.chosen if answer.chosen >= 0 else repr(answer.value).encode()

    async def _answer(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value for name, value in scope["headers"] if name in _READ_HEADERS}
        extra: list[tuple[bytes, bytes]] = [_JSON]
        self._in_flight += 1
        try:
            self._admit(scope)
            status, content = 200, await handler(await self._body(headers, receive), headers)
        except RequestRejected as rejected:
            status, content = rejected.status, json.dumps({"error": rejected.message}).encode()
            extra += _rejection_headers(rejected)
        except _CallerGone:
            return
        except Exception:
            log.exception("Request failed", extra={"path": scope["path"]})
            status, content = 500, b'{"error": "internal error"}'
        finally:
            self._in_flight -= 1
        extra.append((b"content-length", b"%d" % len(content)))
        if _ID in headers:
            extra.append((_ID, headers[_ID][:200]))
        if self._service.draining:
            extra.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": extra})
        await send({"type": "http.response.body", "body": content})

    def _admit(self, scope: Scope) -> None:
        if scope["method"] != "POST":
            raise RequestRejected(405, f"{scope['path']} takes POST")
        if self._in_flight > self._service.settings.max_waiting:
            raise RequestRejected(503, "too many requests at once", retry_after=1)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._service.settings.max_body
        if int(headers.get(b"content-length", 0)) > limit:
            raise RequestRejected(413, f"the body is larger than {limit} bytes")
        message = await receive()
        if message["type"] != "http.request":
            raise _CallerGone
        body: bytes = message["body"]
        if message["more_body"]:
            body = await self._rest_of_body(body, receive, limit)
        return _inflated(body, headers[b"content-encoding"], limit) if b"content-encoding" in headers else body

    async def _rest_of_body(self, first: bytes, receive: Receive, limit: int) -> bytes:
        body = bytearray(first)
        seconds = self._service.settings.body_timeout
        try:
            async with asyncio.timeout(seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _CallerGone
                    body += message["body"]
                    more = message["more_body"]
                    if len(body) > limit:
                        raise RequestRejected(413, f"the body is larger than {limit} bytes")
        except TimeoutError as exc:
            raise RequestRejected(408, f"the body did not arrive within {seconds:g} s") from exc
        return bytes(body)


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
    headers = []
    if rejected.retry_after is not None:
        headers.append((b"retry-after", b"%d" % rejected.retry_after))
    if rejected.status == 405:
        headers.append((b"allow", b"POST"))
    if rejected.status in (408, 413):
        headers.append(_CLOSE)  # what is still on its way would be read as the next request
    return headers
