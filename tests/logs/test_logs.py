"""Logs on a real disk: content, redaction, followers, crashes and pruning."""

import asyncio
import contextlib
import errno
import os
import struct
import time
from pathlib import Path

import pytest

from deployd.errors import RequestRefused, Unavailable
from deployd.logs.logs import Logs


async def whole(logs: Logs, app: str = "iris", number: int = 1, start: int = 0) -> str:
    return b"".join([block async for block in logs.read(app, number, start)]).decode()


async def followed(logs: Logs, *, start: int = 0, expected: bool = False) -> str:
    return b"".join([block async for block in logs.follow("iris", 1, start, expected=expected)]).decode()


async def all_follow(tasks: list[asyncio.Task[str]], logs: Logs) -> None:
    """Wait until every task follows the log."""
    await asyncio.sleep(0)
    assert logs._feeds["iris", 1].followers == len(tasks)


async def test_written_text_can_be_read_at_once(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs")
    log = logs.open("iris", 1)
    log.write("fetch\nü build\n")
    assert await whole(logs) == "fetch\nü build\n"
    assert await whole(logs, start=6) == "ü build\n"
    assert await whole(logs, start=10**30) == ""
    assert (tmp_path / "logs/iris/1.log").stat().st_mode & 0o777 == 0o600
    log.close()


async def test_a_missing_log_reads_as_empty(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    assert not logs.exists("iris", 1)
    assert await whole(logs) == ""
    assert await followed(logs) == ""


async def test_a_secret_written_in_two_pieces_is_masked(tmp_path: Path) -> None:
    logs = Logs(tmp_path, ["hunter22"])
    with logs.open("iris", 1) as log:
        log.write("password hun")
        log.write("ter22 and ")
        log.hide("late-secret")
        log.write("late-sec")
        log.write("ret.\n")
        assert log.tail() == "password *** and ***."
    assert await whole(logs) == "password *** and ***.\n"
    assert logs.redact("hunter22") == "***"


async def test_secrets_added_later_are_masked_in_later_logs(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.hide(["rotated-1"])
    with logs.open("iris", 1) as log:
        log.write("rotated-1\n")
    assert await whole(logs) == "***\n"


async def test_a_log_past_its_limit_ends_with_a_notice_and_the_last_lines(tmp_path: Path) -> None:
    logs = Logs(tmp_path, limit=4000)
    with logs.open("iris", 1) as log:
        for number in range(1000):
            log.write(f"line {number} ü\n")
        log.write("error: no space\n")
        assert log.tail(2) == "line 999 ü\nerror: no space"
    text = await whole(logs)
    assert len(text.encode()) <= 4000
    assert text.startswith("line 0 ü\nline 1 ü\n")
    assert "-- the limit of 4000 bytes is reached: only the last lines follow --\n" in text
    assert " bytes left out --\n" in text
    assert text.endswith("line 999 ü\nerror: no space\n")


async def test_a_full_log_stays_within_its_limit_however_often_it_is_opened(tmp_path: Path) -> None:
    logs = Logs(tmp_path, limit=1000)
    for _ in range(20):
        with logs.open("iris", 1) as log:
            log.write("x" * 5000)
    assert len(await whole(logs)) <= 1001


async def test_a_log_past_its_limit_is_cut_between_lines_so_that_no_colour_runs_on(tmp_path: Path) -> None:
    logs = Logs(tmp_path, limit=1000)
    with logs.open("iris", 1) as log:
        log.write("\x1b[31mred line\x1b[0m\n" * 100)
        log.write("\x1b[31mlast\x1b[0m\n")
        assert log.tail(1) == "last"
    coloured = [line for line in (await whole(logs)).splitlines() if "\x1b" in line]
    assert set(coloured) == {"\x1b[0;31mred line\x1b[0m"}
    assert (await whole(logs)).endswith("red line\nlast\n")


async def test_one_endless_line_past_the_limit_is_cut_inside_and_without_colours(tmp_path: Path) -> None:
    logs = Logs(tmp_path, limit=1000)
    with logs.open("iris", 1) as log:
        log.write("\x1b[31mab\x1b[32mcd" * 100)
    assert "\x1b" not in await whole(logs)
    assert (await whole(logs)).startswith("abcdabcd")


async def test_a_mark_is_at_the_beginning_of_a_line(tmp_path: Path) -> None:
    logs = Logs(tmp_path, ["secret"])
    with logs.open("iris", 1) as log:
        assert log.mark() == 0
        log.write("\x1b[31mdownloading sec")
        place = log.mark()
        log.write("==> build\n")
        assert log.mark() == place + len("==> build\n")
    text = await whole(logs)
    assert text[place:] == "==> build\n"
    assert text[:place] == "\x1b[0;31mdownloading sec\x1b[0m\n"


async def test_a_window_of_a_log_is_read_alone(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with logs.open("iris", 1) as log:
        log.write("x" * 70_000 + "yz\n")
    window = [block async for block in logs.read("iris", 1, 69_999, 70_001)]
    assert window == [b"xy"]
    assert [block async for block in logs.read("iris", 1, 5, 5)] == []


async def test_the_times_of_lines_are_kept_beside_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.0

    def at(seconds: float) -> None:
        monkeypatch.setattr("deployd.logs.file.time.time", lambda: now + seconds)

    logs = Logs(tmp_path)
    with logs.open("iris", 1) as log:
        for seconds, text in ((0, "one\n"), (0.05, "two\n"), (1, "thr"), (2, "ee\n"), (3, "four\nfive\n"), (4, " \n")):
            at(seconds)
            log.write(text)
    assert logs.times("iris", 1) == [(0, now), (8, now + 1), (14, now + 3), (24, now + 4)]
    assert logs.times("iris", 1, 8, 24) == [(8, now + 1), (14, now + 3)]
    assert logs.times("iris", 1, 9) == [(14, now + 3), (24, now + 4)]
    assert await whole(logs) == "one\ntwo\nthree\nfour\nfive\n \n"
    assert logs.times("iris", 2) == []


async def test_the_last_lines_of_a_log_past_its_limit_keep_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Logs(tmp_path, limit=1000)
    with logs.open("iris", 1) as log:
        for seconds in range(1, 101):
            monkeypatch.setattr("deployd.logs.file.time.time", lambda at=seconds: float(at))
            log.write(f"line {seconds} {'x' * 20}\n")
    text = await whole(logs)
    times = dict(logs.times("iris", 1))
    assert times[text.index("line 100 ")] == 100
    assert times[text.index("line 99 ")] == 99


async def test_after_a_crash_times_of_lost_lines_are_gone_and_later_ones_follow(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with logs.open("iris", 1) as log:
        log.write("one\n")
    with (tmp_path / "iris/1.times").open("ab") as file:
        file.write(struct.pack("<Qd", 4000, 5.0) + b"torn")
    with logs.open("iris", 1) as log:
        log.write("two\n")
    assert [offset for offset, _ in logs.times("iris", 1)] in ([0], [0, 4])
    assert (tmp_path / "iris/1.times").stat().st_size % 16 == 0


async def test_the_times_of_a_log_are_removed_with_it(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    for number in (1, 2):
        with logs.open("iris", number) as log:
            log.write("line\n")
    await logs.prune(1, 10**9)
    assert sorted(path.name for path in (tmp_path / "iris").iterdir()) == ["2.log", "2.times"]


async def test_after_a_crash_the_log_continues_on_a_new_line(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris/1.log").write_bytes("step 1\nstep ü".encode()[:-1])
    with logs.open("iris", 1) as log:
        log.write("again\n")
    assert b"".join([block async for block in logs.read("iris", 1)]) == b"step 1\nstep \xc3\nagain\n"


async def test_a_closed_log_refuses_more_text(tmp_path: Path) -> None:
    log = Logs(tmp_path).open("iris", 1)
    log.close()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.write("late")


async def test_a_log_has_one_writer_at_a_time(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = logs.open("iris", 1)
    with pytest.raises(ValueError, match="open already"):
        logs.open("iris", 1)
    log.close()
    logs.open("iris", 1).close()


async def test_lone_surrogates_do_not_break_a_log(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with logs.open("iris", 1) as log:
        log.write("bad \udc80 byte\n")
    assert await whole(logs) == "bad \\udc80 byte\n"


@pytest.mark.parametrize("app", ["..", "../x", "a/b", "", "Iris", "iris\n", "-iris", "x" * 41, "iris\x00"])
async def test_a_path_that_is_no_app_name_is_refused(tmp_path: Path, app: str) -> None:
    logs = Logs(tmp_path / "logs")
    with pytest.raises(RequestRefused) as refused:
        logs.open(app, 1)
    assert refused.value.status == 404
    with pytest.raises(RequestRefused):
        await whole(logs, app)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("number", [0, -1, True, "1", "../1"])
async def test_a_number_that_no_deploy_can_have_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(RequestRefused):
        Logs(tmp_path).open("iris", number)


async def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris/1.log").symlink_to("/etc/hostname")
    with pytest.raises(Unavailable, match="iris/1"):
        Logs(tmp_path).open("iris", 1)


async def test_a_follower_gets_the_whole_log_and_ends_when_it_is_closed(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = logs.open("iris", 1)
    log.write("before\n")
    task = asyncio.create_task(followed(logs))
    await all_follow([task], logs)
    log.write("during\n")
    await asyncio.sleep(0.01)
    log.write("then\n")
    log.close()
    assert await task == "before\nduring\nthen\n"
    assert logs._feeds == {}


async def test_a_follower_sees_a_line_at_once(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = logs.open("iris", 1)
    lines = logs.follow("iris", 1)
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    began = time.monotonic()
    log.write("now\n")
    assert await first == b"now\n"
    assert time.monotonic() - began < 0.5
    await lines.aclose()
    assert logs._feeds["iris", 1].followers == 0
    log.close()


async def test_a_follower_that_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = logs.open("iris", 1)
    tasks = [asyncio.create_task(followed(logs)) for _ in range(3)]
    await all_follow(tasks, logs)
    tasks[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tasks[0]
    log.write("still here\n")
    log.close()
    assert await asyncio.gather(*tasks[1:]) == ["still here\n"] * 2


async def test_a_follower_waits_for_an_expected_log(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    task = asyncio.create_task(followed(logs, expected=True))
    await asyncio.sleep(0)
    with logs.open("iris", 1) as log:
        log.write("here\n")
    assert await task == "here\n"
    assert logs._feeds == {}


async def test_followers_end_when_an_expected_log_is_given_up(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    tasks = [asyncio.create_task(followed(logs, expected=True)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    logs.give_up("iris", 1)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [tasks[0].exception, "", ""] or tasks[0].cancelled()
    assert logs._feeds == {}


@pytest.mark.slow
async def test_five_hundred_followers_of_a_noisy_build_are_cheap(tmp_path: Path) -> None:
    """20,000 lines to 500 followers, each of which gets all of them; measured in processor time."""
    logs = Logs(tmp_path, ["a secret that is not there"])
    log = logs.open("iris", 1)
    tasks = [asyncio.create_task(followed(logs)) for _ in range(500)]
    await all_follow(tasks, logs)
    began = time.process_time()
    for number in range(20_000):
        log.write(f"#7 {number} Collecting scikit-learn\n")
        if number % 100 == 0:
            await asyncio.sleep(0)
    log.close()
    texts = await asyncio.gather(*tasks)
    assert time.process_time() - began < 10
    assert len(set(texts)) == 1
    assert texts[0].endswith("#7 19999 Collecting scikit-learn\n")
    assert len(os.listdir("/proc/self/fd")) < 100  # noqa: PTH208 - of this process, once


async def test_a_full_disk_loses_the_log_and_raises_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logs = Logs(tmp_path)
    log = logs.open("iris", 1)
    log.write("kept\n")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._fd)
    os.close(full)
    log.write("lost\n")
    log.write("lost too\n")
    assert log.tail(1) == "lost too"
    log.close()
    assert await whole(logs) == "kept\n"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def a_log(directory: Path, app: str, number: int, size: int, age: int) -> None:
    path = directory / app / f"{number}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age, time.time() - age))


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*.log")}


async def test_an_app_keeps_only_its_newest_logs(tmp_path: Path) -> None:
    for number in range(1, 13):
        a_log(tmp_path, "iris", number, 10, 100 - number)
    a_log(tmp_path, "wine", 1, 10, 1000)
    logs = Logs(tmp_path)
    assert await logs.prune(3, 10**9) == 90
    assert names(tmp_path) == {"iris/10.log", "iris/11.log", "iris/12.log", "wine/1.log"}


async def test_past_the_total_size_the_oldest_logs_of_all_apps_are_removed_first(tmp_path: Path) -> None:
    a_log(tmp_path, "iris", 1, 100, 50)
    a_log(tmp_path, "iris", 2, 100, 40)
    a_log(tmp_path, "iris", 3, 100, 30)
    a_log(tmp_path, "wine", 7, 100, 60)
    a_log(tmp_path, "wine", 8, 100, 45)
    logs = Logs(tmp_path)
    assert await logs.prune(100, 350) == 200
    assert names(tmp_path) == {"iris/2.log", "iris/3.log", "wine/8.log"}


async def test_open_logs_and_the_newest_of_an_app_are_never_pruned(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        a_log(tmp_path, "iris", number, 10, 0)
    (tmp_path / "iris/notes.txt").write_text("not ours")
    logs = Logs(tmp_path)
    with logs.open("iris", 1):
        assert await logs.prune(0, 0) == 10
    assert names(tmp_path) == {"iris/1.log", "iris/3.log"}
    assert (tmp_path / "iris/notes.txt").exists()
    assert await Logs(tmp_path / "nowhere").prune(0, 0) == 0


async def test_concurrent_prunes_count_each_log_once(tmp_path: Path) -> None:
    for app in ("iris", "wine"):
        for number in range(1, 302):
            a_log(tmp_path, app, number, 10, 0)
    logs = Logs(tmp_path)
    freed = await asyncio.gather(*(logs.prune(1, 10**9) for _ in range(8)))
    assert sum(freed) == 2 * 300 * 10
    assert names(tmp_path) == {"iris/301.log", "wine/301.log"}


async def test_a_log_that_disappears_during_a_prune_is_ignored(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        a_log(tmp_path, "iris", number, 10, 0)
    (tmp_path / "iris/4.log").symlink_to("gone")  # listed, but stat fails
    assert await Logs(tmp_path).prune(1, 10**9) == 20
    assert (tmp_path / "iris/3.log").exists()


async def test_a_prune_that_failed_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        a_log(tmp_path, "iris", number, 10, 0)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with pytest.raises(Unavailable, match="cannot remove old logs: Read-only file system"):
            await Logs(tmp_path).prune(1, 0)
    assert await Logs(tmp_path).prune(1, 0) == 10
