"""A client of one Kubernetes API server as one user.

Requests and answers are plain JSON here, since the library's models reject unusual server data and its watch and exec lose
errors. Every call has a time limit, temporary failures are retried, expired credentials are read again once, and no error of a
library leaves this file. Knows nothing of apps.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.client import SWITCHING_PROTOCOLS
from typing import Any, Self, cast

import aiohttp

from deployd.backoff import Backoff
from deployd.errors import Unavailable
from deployd.targets.kubernetes import notices
from deployd.targets.kubernetes.answers import Expired, Refused, check, translated, warnings_in
from deployd.targets.kubernetes.credentials import Credentials

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_REQUEST = aiohttp.ClientTimeout(total=30, sock_connect=5)
_DELAYS = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
# A WebSocket that is closed ends within this time, or is broken off.
_ENDS_WITHIN_S = 2.0


class Cluster:
    """Use it as an async context manager; several tasks may share it."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._credentials = Credentials(kubeconfig, context)

    @property
    def inside(self) -> bool:
        """Whether deployd itself runs in this cluster, where it can use pod addresses."""
        return self._credentials.inside

    async def __aenter__(self) -> Self:
        await self._credentials.ready()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._credentials.close()

    async def get(self, path: str, **query: str) -> Json:
        """The object or list at `path`. Refused 404 when there is none."""
        return await self._json("GET", path, query)

    async def items(self, path: str, **query: str) -> list[Json]:
        """The objects of the list at `path`."""
        found: list[Json] = (await self.get(path, **query)).get("items", [])
        return found

    async def find(self, path: str, *, within: float = 15.0, **query: str) -> Json | None:
        """Like `get`, but None when there is none."""
        try:
            return await self._json("GET", path, query, within=within)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def patch(
        self, path: str, operations: Sequence[Json], *, within: float = 15.0, only_tell: bool = False
    ) -> Json:
        """A JSON Patch; Refused 422 or 409 when one of its `test` operations fails. `only_tell` as in `apply`."""
        query = {"fieldManager": "deployd"} | ({"dryRun": "All"} if only_tell else {})
        return await self._json("PATCH", path, query, list(operations), JSON_PATCH, within)

    async def merge(self, path: str, change: Json, *, within: float = 15.0) -> Json:
        """A JSON merge patch, for scalars and annotations; it would replace a list."""
        return await self._json("PATCH", path, {"fieldManager": "deployd"}, change, MERGE_PATCH, within)

    async def apply(
        self, path: str, manifest: Json, *, force: bool, within: float = 15.0, only_tell: bool = False
    ) -> Json:
        """Server-side apply under our field manager. Without `force`, Refused 409 names the managers that own a field.

        `only_tell`: change nothing, answer what the object would be."""
        query = {"fieldManager": "deployd", "force": str(force).lower()} | ({"dryRun": "All"} if only_tell else {})
        return await self._json("PATCH", path, query, manifest, APPLY_PATCH, within)

    async def create(self, path: str, body: Json) -> Json:
        """POST to a collection or a review."""
        return await self._json("POST", path, {}, body, "application/json")

    async def delete(self, path: str) -> None:
        """Delete an object and its dependents; no error when it does not exist."""
        try:
            await self._json("DELETE", path, {"propagationPolicy": "Background"})
        except Refused as refused:
            if refused.status != 404:
                raise

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], silence: float | None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """A long answer (watch, log) as it comes; Unavailable when nothing comes for `silence` seconds (None: no limit)."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence)
        known = self._credentials.times_read
        with translated():
            async with await self._request("GET", path, query, None, "", timeout) as answer:
                try:
                    await check(answer)
                except Expired as expired:
                    await self._credentials.renew(known)
                    raise Unavailable(expired.message) from expired
                try:
                    yield answer.content
                finally:
                    # A stream that is left in the middle has more to come, so its connection is of no use to anybody.
                    if (connection := answer.connection) is not None and (protocol := connection.protocol) is not None:
                        await _break_off(protocol.closed, protocol.transport)

    @asynccontextmanager
    async def socket(
        self, path: str, query: Sequence[tuple[str, str]]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket with channels (exec, portforward): the first byte of each message is the channel."""
        api, known = await self._credentials.ready(), self._credentials.times_read
        headers: dict[str, str] = {}
        await api.update_params_for_auth(headers, [], ["BearerToken"])
        handshake = _Handshake()
        shared: aiohttp.ClientSession = api.rest_client.pool_manager
        session = aiohttp.ClientSession(
            connector=shared.connector, connector_owner=False, middlewares=[handshake], trust_env=shared.trust_env
        )
        with translated():
            async with session, handshake:
                try:
                    opened = await session.ws_connect(
                        f"{api.configuration.host}{path}",
                        params=list(query),
                        headers=headers,
                        protocols=("v4.channel.k8s.io",),
                        heartbeat=20.0,
                        max_msg_size=0,
                        proxy=api.configuration.proxy,
                        server_hostname=api.configuration.tls_server_name,
                    )
                except Expired as expired:
                    await self._credentials.renew(known)
                    raise Unavailable(expired.message, hint="try again") from expired
                except aiohttp.WSServerHandshakeError as exc:
                    raise Refused(exc.status, exc.message, f"{path}: the API server does not open a WebSocket") from exc
                async with opened:
                    yield opened

    async def _json(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None, kind: str = "", within: float = 15.0
    ) -> Json:
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        backoff = Backoff(_DELAYS, jitter=0.5)
        renewed = False
        while True:
            known = self._credentials.times_read
            try:
                with translated():
                    async with await self._request(method, path, query, body, kind, _REQUEST) as answer:
                        await check(answer)
                        if method != "GET" and "dryRun" not in query:
                            for warning in warnings_in(answer.headers.getall("Warning", ())):
                                notices.tell(warning)
                        found: Json = await answer.json(content_type=None)
                        return found
            except Expired as expired:
                if renewed:
                    raise Unavailable(
                        expired.message, hint="the cluster does not accept these credentials"
                    ) from expired
                renewed = True
                await self._credentials.renew(known)
            except Unavailable:
                pause = backoff.fail()
                if loop.time() + pause > until:
                    raise
                await asyncio.sleep(pause)

    async def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Any, kind: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        api = await self._credentials.ready()
        headers = {"Accept": "application/json", "User-Agent": "deployd"}
        if kind:
            headers["Content-Type"] = kind
        await api.update_params_for_auth(headers, [], ["BearerToken"])
        session: aiohttp.ClientSession = api.rest_client.pool_manager
        return await session.request(
            method,
            f"{api.configuration.host}{path}",
            params=dict(query),
            data=json.dumps(body).encode() if body is not None else None,
            headers=headers,
            timeout=timeout,
            proxy=api.configuration.proxy,
            server_hostname=api.configuration.tls_server_name,
        )


class _Handshake:
    """The way a WebSocket is opened: a refusal keeps its text, which aiohttp drops, and after the block its connection has ended,
    for which aiohttp does not wait."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def __call__(self, request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        answer = await ask(request)
        if answer.status != SWITCHING_PROTOCOLS:
            async with answer:
                await check(answer)
        elif answer.connection is not None and (protocol := answer.connection.protocol) is not None:
            self._ended, self._transport = protocol.closed, protocol.transport
        return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=_ENDS_WITHIN_S)
            await _break_off(self._ended, self._transport)


async def _break_off(closed: asyncio.Future[None] | None, transport: asyncio.BaseTransport | None) -> None:
    """End a connection at once, unless it has ended, and wait until nothing is left of it, for which aiohttp does not wait."""
    if closed is None:
        return
    if transport is not None:
        cast("asyncio.Transport", transport).abort()  # uvloop's are none by their class
    await asyncio.wait({closed})
    closed.exception()  # how it ended is of no interest any more
