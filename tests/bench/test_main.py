import signal
import subprocess
import sys

import pytest

_BENCH = """
import asyncio
from bench.__main__ import end_in_order

async def measure():
    try:
        print("measuring", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

end_in_order()
asyncio.run(measure())
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_bench_that_is_ended_by_a_signal_cleans_up(ending: signal.Signals) -> None:
    command = [sys.executable, "-c", _BENCH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "measuring\n"
        bench.send_signal(ending)
        assert bench.stdout.read() == "cleaned up\n"
    assert bench.returncode != 0
