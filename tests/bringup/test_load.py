"""The clients of a load, against a server on loopback."""

import asyncio
import gc

import pytest

from deployd.bringup.load import Call, Load


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while b"\r\n\r\n" in await _head(reader):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
    writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return b""


async def test_the_clients_count_what_they_sent_and_who_answered() -> None:
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        load = Load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with load.running(Call("GET", "/"), kept=1, fresh=1):
            await load.reached(20)
    assert load.sent >= 20
    assert load.failures == []
    assert [client.turns for client in load.clients] == [["one"]] * 2


async def test_each_client_can_be_waited_for_until_it_has_asked_again() -> None:
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        load = Load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", rest=0.01)
        async with load.running(Call("GET", "/"), kept=2, fresh=2):
            await load.reached(20)
            before = [client.sent for client in load.clients]
            await load.all_asked_again()
            answered = [len(client.latencies) for client in load.clients]
    assert all(count > sent for count, sent in zip(answered, before, strict=True))


async def test_a_block_that_fails_leaves_no_connection_open() -> None:
    """A connection that is left to the garbage collector warns, and a warning fails the test that comes next."""
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        load = Load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.RaisesGroup(AssertionError):
            async with load.running(Call("GET", "/"), kept=2, fresh=4):
                await load.reached(20)
                raise AssertionError
        gc.collect()
