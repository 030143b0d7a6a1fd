"""The way to one new pod before the rollout is complete: its pod address, or port-forward through the API server.

The pod address is used only inside the cluster and on the pod's node. Elsewhere the same address may belong to another machine,
which the gates would then check instead of the pod.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from deployd.errors import DeploydError
from deployd.logs.log import printable
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.tasks import first, stop

_CHUNK = 64 * 1024
_DATA = b"\x00"


@asynccontextmanager
async def address_of(cluster: Cluster, pod: Json, port: int) -> AsyncIterator[str]:
    """A base URL for `port` of the pod, valid inside the block."""
    if cluster.inside or _is_this_machine(pod.get("status", {}).get("hostIP", "")):
        yield f"http://{_host(pod['status']['podIP'])}:{port}"
        return
    async with forwarded(cluster, pod, port) as local:
        yield f"http://127.0.0.1:{local}"


@asynccontextmanager
async def forwarded(cluster: Cluster, pod: Json, port: int) -> AsyncIterator[int]:
    """A loopback port that leads to `port` of the pod; each connection has its own WebSocket. All end with the block."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/portforward"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with cluster.socket(path, [("ports", str(port))]) as channels:
                await _pump(reader, writer, channels)
        except (DeploydError, ConnectionError):
            # The caller's connection breaks, as when the pod is gone.
            writer.transport.abort()
        finally:
            writer.close()

    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(serve(reader, writer))
        connections.add(connection)
        connection.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await stop(*connections)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channels: aiohttp.ClientWebSocketResponse
) -> None:
    """Copy bytes in both directions until one side ends."""
    await first(_up(reader, channels), _down(channels, writer))


async def _up(reader: asyncio.StreamReader, channels: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_CHUNK):
        await channels.send_bytes(_DATA + data)


async def _down(channels: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    # The first message of each of the two channels only contains the port.
    started: set[bytes] = set()
    async for message in channels:
        if not isinstance(message.data, bytes):
            continue
        channel, data = message.data[:1], message.data[1:]
        if channel not in started:
            started.add(channel)
        elif channel != _DATA:
            raise ConnectionResetError(printable(data.decode("utf-8", "replace")))
        else:
            writer.write(data)
            await writer.drain()


def _is_this_machine(host: str) -> bool:
    """Whether `host` is an address of this machine."""
    if not host:
        return False
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
