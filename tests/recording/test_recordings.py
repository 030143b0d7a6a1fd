import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployd.config.app import App
from deployd.recording.recordings import Recordings


def an_app(name: str = "iris", record: dict[str, Any] | None = None) -> App:
    given = {"name": name, "repo": "/srv/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    return App.model_validate(given | ({"record": record} if record is not None else {}))


@pytest.fixture
def recordings(tmp_path: Path) -> Iterator[Recordings]:
    recordings = Recordings(tmp_path / "recorded", tmp_path / "gateway" / "requests.sock")
    yield recordings
    recordings.close()


def send(tmp_path: Path, body: Any, app: str = "iris") -> None:
    line = f"deployd-request {app} 200 POST {base64.b64encode(json.dumps(body).encode()).decode()} /predict\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(line.encode(), str(tmp_path / "gateway" / "requests.sock"))


def kept(recordings: Recordings, count: int) -> list[Any]:
    deadline = time.monotonic() + 5
    while len(found := recordings.requests("iris", 100)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return [request.body for request in found]


@pytest.mark.slow
def test_a_sampled_request_is_kept_without_the_removed_fields(recordings: Recordings, tmp_path: Path) -> None:
    recordings.expect([an_app(record={"remove": ["email"]})])
    send(tmp_path, {"email": "a@b", "x": 1})
    send(tmp_path, {"x": 2}, app="wine")
    send(tmp_path, {"x": 3})
    assert kept(recordings, 2) == [{"x": 1}, {"x": 3}]
    assert b"a@b" not in b"".join(path.read_bytes() for path in (tmp_path / "recorded").rglob("*.jsonl"))


@pytest.mark.slow
def test_an_app_that_no_longer_agrees_has_nothing_left(recordings: Recordings, tmp_path: Path) -> None:
    recordings.expect([an_app(record={})])
    send(tmp_path, {"x": 1})
    assert kept(recordings, 1) == [{"x": 1}]
    recordings.expect([an_app()])
    assert list((tmp_path / "recorded").iterdir()) == []
    assert recordings.requests("iris", 10) == []


def test_without_an_app_that_agrees_there_is_no_socket(recordings: Recordings, tmp_path: Path) -> None:
    recordings.expect([an_app()])
    assert not (tmp_path / "gateway").exists()


def test_a_socket_that_cannot_be_made_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gateway").write_text("a file")
    recordings = Recordings(tmp_path / "recorded", tmp_path / "gateway" / "requests.sock")
    recordings.expect([an_app(record={})])
    assert "No requests are recorded" in caplog.text
    recordings.close()
