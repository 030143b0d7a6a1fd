"""The prediction routes, as a plain ASGI callable in front of the FastAPI application.

Every other path goes on to FastAPI. Also here: the limit on requests at once (503), the request id, and the headers that every
answer gets while the service shuts down. The connection (`connection.py`) bounds the size and time of bodies. A bug ends in a
500 with its traceback in the log, never in the answer.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from model_service.errors import RequestRejected
from model_service.metrics import OTHER
from model_service.model import Prediction
from model_service.parsing import LARGE_BODY, decompress
from model_service.routes import JSON, HeaderList, Headers, Route, prediction_routes
from model_service.service import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = b"x-request-id"
COMPRESSED = 4 * 1024  # bytes; an answer that is longer is compressed if the caller takes gzip
_CALLER_GONE = 499  # only counted: there is nobody to answer

log = logging.getLogger(__name__)


class _CallerGone(Exception):
    """The connection ended before the whole body had come."""


class _Options(Exception):
    """The caller asks for the methods of a route."""


class Predictions:
    """Answers POST on the prediction routes, passes every other path to `rest`, and counts both."""

    def __init__(self, service: Service, rest: App) -> None:
        self._service = service
        self._rest = rest
        self._routes = prediction_routes(service)
        self._root_path = service.settings.root_path
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        started = time.perf_counter()
        route = self._routes.get(scope["path"])
        if route is None and self._root_path:
            # Some proxies take the prefix away, and others leave it.
            route = self._routes.get(scope["path"].removeprefix(self._root_path))
        if route is None:
            number, status = OTHER, await self._pass_on(scope, receive, send)
        else:
            number, status = route.number, await self._answer(route, scope, receive, send)
        self._service.metrics.count_request(number, status, time.perf_counter() - started)

    async def _answer(self, route: Route, scope: Scope, receive: Receive, send: Send) -> int:
        """Answers one request on a prediction route; the status."""
        headers = dict(scope["headers"])
        self._in_flight += 1
        try:
            content_headers, content = await self._predict(route, scope, headers, receive)
            status = 200
        except _Options:
            status, content_headers, content = 204, [(b"allow", b"OPTIONS, POST")], b""
        except RequestRejected as rejected:
            status, content_headers = rejected.status, _rejection_headers(rejected)
            content = json.dumps({"error": rejected.message}, ensure_ascii=False).encode(errors="backslashreplace")
        except _CallerGone:
            # The connection says here when it has refused the request itself.
            return int(scope.get("state", {}).get("refused", _CALLER_GONE))
        except Exception:
            log.exception("Request failed on %s", scope["path"])
            status, content_headers, content = 500, JSON, b'{"error": "internal error"}'
        finally:
            self._in_flight -= 1
        if len(content) > COMPRESSED and accepts_gzip(headers.get(b"accept-encoding", b"")):
            content = await asyncio.to_thread(gzip.compress, content, 1)
            content_headers = [*content_headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        all_headers = [*content_headers, *self._common(headers), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": all_headers})
        await send({"type": "http.response.body", "body": content})
        return status

    async def _predict(
        self, route: Route, scope: Scope, headers: Headers, receive: Receive
    ) -> tuple[HeaderList, bytes]:
        """The headers and content of a successful answer. Raises RequestRejected."""
        service = self._service
        if scope["method"] != "POST":
            if scope["method"] == "OPTIONS":
                raise _Options
            raise RequestRejected(405, f"{scope['path']} takes POST")
        if self._in_flight > service.settings.max_waiting:
            raise RequestRejected(503, "too many requests at once", retry_after=1)
        body = await _read_body(receive)
        if len(body) > service.settings.max_body:
            raise RequestRejected(413, f"the body is larger than {service.settings.max_body} bytes")
        if len(body) > LARGE_BODY or b"content-encoding" in headers:
            rows, request = await asyncio.to_thread(self._read_in_thread, route, body, headers)
        else:
            rows, request = route.read(body, headers)
        predictions = service.predict_at_once(rows) or await _while_connected(service.predict(rows), receive)
        service.metrics.count_predictions(route.number, rows, predictions)
        return route.write(request, predictions)

    def _read_in_thread(self, route: Route, body: bytes, headers: Headers) -> tuple[list[list[float]], Any]:
        """Reads what would hold up every other request on the event loop."""
        encoding = headers.get(b"content-encoding", b"identity")
        return route.read(decompress(body, encoding, self._service.settings.max_body), headers)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Lets FastAPI answer; the status. HEAD is a GET of which only the head is sent, OPTIONS tells the methods."""
        common = self._common(dict(scope["headers"]))
        method, status = scope["method"], _CALLER_GONE

        async def send_with_common(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if method == "OPTIONS" and message["status"] == 405:
                    message.update(status=204, headers=_allowed(message["headers"]))
                status = message["status"]
                message["headers"] = [*message["headers"], *common]
            elif method == "HEAD" or status == 204:
                message["body"] = b""
            await send(message)

        # Copies, since the server looks at its own scope: it must not send a body.
        if method == "HEAD":
            scope = dict(scope) | {"method": "GET"}
        if self._root_path and not scope["path"].startswith(f"{self._root_path}/"):
            scope = dict(scope) | {"path": self._root_path + scope["path"]}  # as the applications behind expect it
        await self._rest(scope, receive, send_with_common)
        return status

    def _common(self, headers: Headers) -> HeaderList:
        """The headers that every answer gets."""
        common = [(_REQUEST_ID, headers[_REQUEST_ID][:200])] if _REQUEST_ID in headers else []
        if self._service.draining:
            common.append((b"connection", b"close"))
        return common


async def _while_connected(prediction: Coroutine[Any, Any, list[Prediction]], receive: Receive) -> list[Prediction]:
    """The prediction, unless the caller hangs up first: then it is stopped. Raises _CallerGone."""
    predicting, leaving = asyncio.ensure_future(prediction), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({predicting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not predicting.done():
            raise _CallerGone
        return await predicting
    finally:
        for task in (predicting, leaving):
            task.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] == "http.request":
        pass


async def _read_body(receive: Receive) -> bytes:
    """The whole body. Raises _CallerGone."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _CallerGone
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def _allowed(headers: HeaderList) -> HeaderList:
    """The header Allow, with the methods that every route has."""
    methods = {name for key, value in headers if key == b"allow" for name in value.decode().split(", ")}
    methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return [(b"allow", ", ".join(sorted(methods)).encode()), (b"content-length", b"0")]


def accepts_gzip(accepted: bytes) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for one in accepted.lower().split(b","):
        name, _, quality = one.replace(b" ", b"").partition(b";")
        if name in (b"gzip", b"*"):
            return quality not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def _rejection_headers(rejected: RequestRejected) -> HeaderList:
    headers = [*JSON]
    if rejected.retry_after is not None:
        headers.append((b"retry-after", b"%d" % rejected.retry_after))
    if rejected.status == 405:
        headers.append((b"allow", b"POST"))
    return headers
