"""A forked process is what its program, arguments and environment say, and ends as a process does."""

import json
import signal
from pathlib import Path

import pytest

from tests.forked import Forked

SAYS = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getsid(0) == os.getpid(), "deployd.serve" in sys.modules]), flush=True)
if sys.argv[1] == "waits":
    while True:
        import signal; signal.pause()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that says what it was given, and exits with that or waits for a signal."""
    (tmp_path / "says_what.py").write_text(SAYS)
    monkeypatch.syspath_prepend(tmp_path)
    return "says_what"


@pytest.mark.slow
@pytest.mark.slow
async def test_it_has_its_own_arguments_environment_session_and_exit_code(program: str, tmp_path: Path) -> None:
    process = Forked(program, ["3", "more"], {"WHO": "a test"}, tmp_path / "log")

    assert await process.wait() == process.returncode == 3
    arguments, environment, leads, loaded = json.loads((tmp_path / "log").read_text())
    assert (arguments, environment) == (["3", "more"], {"WHO": "a test"})
    assert leads
    assert loaded, "the fork had to load the daemon's code anew"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_ends_it(program: str, tmp_path: Path, number: signal.Signals) -> None:
    process = Forked(program, ["waits"], {}, tmp_path / "log")

    assert process.returncode is None
    process.send_signal(number)
    assert await process.wait() == -number
    process.kill()  # nothing to do any more
