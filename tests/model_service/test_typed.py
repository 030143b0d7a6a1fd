"""The commands of docs/model-service.md: train, serve, ask."""

import shlex
import sys
from pathlib import Path
from subprocess import Popen, run

import pytest

from deployd.bringup.ports import free_port
from tests.model_service.process import Running
from tests.typed import under


@pytest.mark.slow
def test_a_model_is_trained_served_and_asked_with_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    train, serve, ask = (_here(line) for line in under("docs/model-service.md", "What is served"))
    run(train, check=True, capture_output=True)
    with Popen([*serve, "--port", str(port)], text=True) as process:
        service = Running(process, url)
        try:
            service.wait_until_ready()
            assert "setosa" in run([*ask, "--url", url], check=True, capture_output=True, text=True).stdout
        finally:
            assert service.stop() == 0


def _here(line: str) -> list[str]:
    python, *words = shlex.split(line)
    assert python == "python"
    return [sys.executable, *words]
