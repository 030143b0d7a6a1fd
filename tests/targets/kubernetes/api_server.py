"""A strict, small API server that answers lists and watches over real HTTP, and fails on request."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
CLOSING = web.RequestKey("closing", asyncio.Event)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Server(web.Server):
    """Also ends connections that are accepted while it stops; aiohttp leaves those open."""

    _stopped = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._stopped:
            transport.abort()

    async def shutdown(self, timeout: float | None = None) -> None:
        self._stopped = True
        await super().shutdown(timeout)


class ApiServer:
    """Answers what `answers` holds for (method, path), in turn; the last one stays. Every other request fails the test."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.asked: list[web.Request] = []
        self.bodies: list[Any] = []
        self.unexpected: list[str] = []
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._port}"

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Set the answers from now on."""
        self.answers[method, path] = list(answers)

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._closing = asyncio.Event()
        self._runner = web.ServerRunner(_Server(self._answer), shutdown_timeout=0.1)  # 0 would be no limit at all
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.give_token("first")

    async def stop(self) -> None:
        """Stop, and close every connection."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def give_token(self, token: str) -> None:
        """Write this kubeconfig."""
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
                    "users": [{"name": "test", "user": {"token": token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        body = await request.read()
        request[CLOSING] = self._closing
        self.asked.append(request)  # type: ignore[arg-type]
        self.bodies.append(json.loads(body) if body else None)
        kind = "WATCH" if request.query.get("watch") else request.method
        waiting = self.answers.get((kind, request.path))
        if request.query.get("dryRun"):  # answered as the write itself, unless the test sets it apart
            waiting = self.answers.get(("DRY RUN", request.path), waiting)
        if not waiting:
            self.unexpected.append(f"{kind} {request.path}")
            return web.Response(status=501)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return await answer(request)  # type: ignore[arg-type]


def says(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with this JSON."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


def refuses(status: int, reason: str, message: str) -> Answer:
    """Answer with a Status object."""
    return says({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}, status)


def a_list(version: str, *items: Json) -> Json:
    return {"kind": "List", "metadata": {"resourceVersion": version}, "items": list(items)}


def an_item(uid: str, version: str = "1", **more: Any) -> Json:
    return {"metadata": {"uid": uid, "name": uid, "resourceVersion": version}, **more}


def lines(*events: tuple[str, Json] | bytes, hold: bool = False, drop: bool = False) -> Answer:
    """Stream watch events (or raw bytes); then end, hold the connection open, or break it in mid-stream."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for event in events:
            raw = (
                event
                if isinstance(event, bytes)
                else json.dumps({"type": event[0], "object": event[1]}).encode() + b"\n"
            )
            await response.write(raw)
        if hold:
            await request[CLOSING].wait()
        if (drop or hold) and request.transport is not None:
            request.transport.abort()
        return response

    return answer


@asynccontextmanager
async def api_server(directory: Path) -> AsyncIterator[ApiServer]:
    """A server that fails the test when it gets a request without a set answer."""
    server = ApiServer(directory / "kubeconfig")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server.unexpected == []
