import asyncio
import os
import socket
import stat
import struct
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from deployd.errors import ConfigError
from deployd.http.local import local_socket, local_user
from deployd.http.server import Server, bind
from tests.http.wire import answer


async def whose(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with the user id of the sender."""
    await answer(send, str(local_user(scope)).encode())


async def test_a_request_through_the_unix_socket_says_which_user_sent_it(tmp_path: Path) -> None:
    server = Server(whose)
    with local_socket(tmp_path / "door") as door, bind("127.0.0.1", 0) as public:
        serving = asyncio.create_task(server.serve(sockets=[door, public]))
        await server.listening.wait()
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "door"))) as client:
            for _ in range(2):  # the second request comes by the same connection
                assert (await client.get("http://localhost/")).text == str(os.getuid())
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(f"http://127.0.0.1:{public.getsockname()[1]}/")).text == "None"
        server.stop()
        await serving


def test_only_owner_and_group_may_connect_and_the_file_goes_with_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "run" / "door"
    with local_socket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with local_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_the_socket_of_another_daemon_and_a_file_of_another_kind_stay(tmp_path: Path) -> None:
    with local_socket(tmp_path / "door"):
        with (
            pytest.raises(ConfigError, match=r"server\.socket: .*another deployd listens there"),
            local_socket(tmp_path / "door"),
        ):
            pass
        assert (tmp_path / "door").is_socket()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"server\.socket"), local_socket(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_the_kernel_tells_of_a_peer_what_is_read() -> None:
    one, other = socket.socketpair()
    with one, other:
        said = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    assert struct.unpack("iII", said) == (os.getpid(), os.getuid(), os.getgid())
