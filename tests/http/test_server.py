import asyncio
import signal

import pytest
from starlette.types import Receive, Scope, Send

from deployd.errors import ConfigError
from deployd.http.server import Server, bind
from tests.http.wire import answer, connected, hello, request, served


@pytest.mark.slow
async def test_stopping_finishes_what_is_in_flight_and_drops_idle_connections() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_scope: Scope, _receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await answer(send, b"done")

    server, bound = Server(waits, stop_within=10), bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    async with connected(port) as idle, connected(port) as busy:
        await busy.send(request())
        await begun.wait()
        server.stop()
        assert await idle.ended() == b""
        with pytest.raises(ConnectionError):
            async with connected(port):
                pass
        go_on.set()
        assert await busy.answer() == (200, b"done")
        await serving


@pytest.mark.parametrize("early", [0, 10], ids=["nothing sent yet", "half a line sent"])
async def test_a_connection_accepted_before_the_stop_is_answered(early: int) -> None:
    server, bound = Server(hello, stop_within=10), bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    async with connected(bound.getsockname()[1]) as late:
        await late.send(request()[:early])
        while not server.server_state.connections:  # noqa: ASYNC110 - nothing tells when a connection is taken
            await asyncio.sleep(0.01)
        server.stop()
        await asyncio.sleep(0)
        await late.send(request()[early:])
        assert (await late.ended()).endswith(b"connection: close\r\n\r\n0")
        await serving


async def test_the_server_leaves_signal_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with served(hello):
        assert signal.getsignal(signal.SIGTERM) is before


def test_an_address_in_use_is_a_config_error() -> None:
    with bind("127.0.0.1", 0) as bound, pytest.raises(ConfigError, match=r"server\.port"):
        bind("127.0.0.1", bound.getsockname()[1])
