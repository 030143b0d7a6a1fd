import asyncio
from pathlib import Path

import pytest

from deployd.errors import Unavailable
from deployd.gateway.runtime import Runtime, Workers, parse_description, parse_sessions, parse_slots, parse_workers
from deployd.gateway.slots import Endpoint, Slot, Use

PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
1               master          2 [failed: 0]   0d00h10m54s     2.6.12-1+deb12u3
# workers
17              worker          0               0d00h00m01s     2.6.12-1+deb12u3
# old workers
11              worker          1               0d00h10m00s     2.6.12-1+deb12u3
7               worker          2               0d00h10m54s     2.6.12-1+deb12u3
# programs

"""
STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 app-iris 1 s1 172.17.0.9 2 4 1 1 9 1 0 0 8 0 0 0 - 5000 - 0 0 - - 0
3 app-iris 2 s2 172.17.0.8 2 12 1 1 630 1 0 0 8 0 0 0 - 5000 - 0 0 - - 0
3 app-iris 3 s3 127.0.0.1 0 5 1 1 630 1 0 0 8 0 0 0 - 1 - 0 0 - - 0
3 app-iris 4 s4 127.0.0.1 0 5 1 1 630 1 0 0 8 0 0 0 - 1 - 0 0 - - 0

"""  # noqa: E501 - as HAProxy says it


def test_the_description_is_read_and_may_be_missing() -> None:
    assert parse_description("Name: HAProxy\nnode: here\ndescription: c0ffee\n\n") == "c0ffee"
    assert parse_description("Name: HAProxy\ndescription: \n\n") == ""
    with pytest.raises(Unavailable):
        parse_description("Can't find the target PID\n")


def test_the_worker_forked_last_is_the_current_one() -> None:
    assert parse_workers(PROCESSES) == Workers(17, (11, 7), 2)


def test_after_a_failed_reload_the_old_worker_is_still_the_current_one() -> None:
    text = "1 master 3 [failed: 1] 0d00h11m00s 2.6.12\n# workers\n# old workers\n11 worker 1 0d00h00m09s 2.6.12\n"
    assert parse_workers(text) == Workers(11, (), 3)


def test_a_process_list_without_a_master_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        parse_workers("Unknown command\n")


def test_slots_are_ready_draining_or_free() -> None:
    ready, draining, *free = parse_slots(STATE)
    assert ready == Slot(Endpoint("172.17.0.9", 5000), Use.READY)
    assert draining == Slot(Endpoint("172.17.0.8", 5000), Use.DRAIN)
    assert free == [Slot(), Slot()]


@pytest.mark.parametrize("text", ["", "Can't find backend.\n", "1\n# be_id be_name\n"])
def test_an_unknown_backend_has_no_slots(text: str) -> None:
    assert parse_slots(text) == ()


def test_queued_sessions_are_counted() -> None:
    text = "# pxname,svname,qcur,scur,addr,\napp-iris,s1,2,3,172.17.0.9:5000,\napp-iris,s2,0,0,172.17.0.8:5000,\n\n"
    assert parse_sessions(text) == {Endpoint("172.17.0.9", 5000): 5, Endpoint("172.17.0.8", 5000): 0}


async def test_a_gateway_that_does_not_run_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the gateway does not answer"):
        await Runtime(tmp_path / "master.sock").workers()


async def test_a_socket_with_a_long_path_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    (deep / "short").mkdir()
    link = Path("/tmp") / f"deployd-{tmp_path.name}"
    link.symlink_to(deep)
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read())
        writer.write(PROCESSES.encode())
        writer.close()

    try:
        async with await asyncio.start_unix_server(answer, link / "master.sock"):
            assert await Runtime(deep / "master.sock").workers() == Workers(17, (11, 7), 2)
    finally:
        link.unlink()
    assert asked == [b"show proc\n"]


class Master:
    """A master's CLI that gives each command's answers in turn, the last one for ever."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self._answers = answers

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = (await reader.read()).decode().strip()
        answers = self._answers[command]
        writer.write((answers.pop(0) if len(answers) > 1 else answers[0]).encode())
        writer.close()


def processes(worker: int, reloads: int) -> str:
    return f"1 master {reloads} 0d00h00m01s 3.2\n{worker} worker 0 0d00h00m01s 3.2\n"


async def test_a_reload_is_done_when_the_new_worker_itself_answers(tmp_path: Path) -> None:
    left = ["", "", "Name: HAProxy\n"]
    master = Master({"show proc": [processes(7, 0), processes(9, 1)], "reload": [""], "@!9 show info": left})
    async with await asyncio.start_unix_server(master.answer, tmp_path / "master.sock"):
        assert await Runtime(tmp_path / "master.sock").reload()
    assert left == ["Name: HAProxy\n"]


async def test_a_reload_fails_when_the_new_worker_ends_before_it_answers(tmp_path: Path) -> None:
    said = [processes(7, 0), processes(9, 1), processes(9, 1), processes(7, 1)]
    master = Master({"show proc": said, "reload": [""], "@!9 show info": [""]})
    async with await asyncio.start_unix_server(master.answer, tmp_path / "master.sock"):
        assert not await Runtime(tmp_path / "master.sock").reload()
