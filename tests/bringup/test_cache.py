import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from deployd.bringup.cache import directory, locked


def test_the_directory_is_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert directory() == tmp_path / "caches" / "deployd-testbed"
    assert directory().is_dir()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory() == tmp_path / ".cache" / "deployd-testbed"


def hold(holds: Event, may_end: Event) -> None:
    with locked("thing"):
        holds.set()
        may_end.wait(30)


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    first, first_may_end, second = context.Event(), context.Event(), context.Event()
    holder = context.Process(target=hold, args=(first, first_may_end))
    waiter = context.Process(target=hold, args=(second, first_may_end))
    holder.start()
    assert first.wait(30)
    waiter.start()
    assert not second.wait(1)
    first_may_end.set()
    assert second.wait(30)
    for process in (holder, waiter):
        process.join(30)
        assert process.exitcode == 0
