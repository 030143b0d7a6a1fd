import asyncio
import os
import signal
from pathlib import Path

import pytest

from deployd.errors import ConfigError
from deployd.host.process import only_one, signals


def test_a_second_daemon_on_a_state_directory_learns_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "state"),
        pytest.raises(ConfigError, match=f"in use by another deployd .pid {os.getpid()}."),
        only_one(tmp_path / "state"),
    ):
        pass
    with only_one(tmp_path / "state"):
        pass


def test_a_state_directory_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"server\.state_dir"), only_one(tmp_path / "file" / "state"):
        pass


@pytest.mark.parametrize(("number", "stops"), [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGHUP, False)])
async def test_signals_become_events(number: signal.Signals, *, stops: bool) -> None:
    stop, hangup = asyncio.Event(), asyncio.Event()
    with signals(stop, hangup):
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await (stop if stops else hangup).wait()
    assert (stop.is_set(), hangup.is_set()) == (stops, not stops)
