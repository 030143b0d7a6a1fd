"""Recorded requests on a real engine, from a client through HAProxy to the disk."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployd.bringup.ports import free_port
from deployd.config.record import Record
from deployd.domain import Image
from deployd.gates.ready import ReadyGate
from deployd.gateway.sampling import LARGEST, SOCKET
from deployd.recording.recordings import Recordings
from deployd.targets.docker.target import DockerTarget
from tests.fake_target import FakeProgress
from tests.targets.docker.world import NAME, a_deploy, an_app

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def until_the_last(recordings: Recordings) -> list[tuple[str, Any]]:
    """What is recorded as soon as the last request is."""
    deadline = time.monotonic() + 10
    while True:
        found = [(request.path, request.body) for request in recordings.requests(NAME, 10)]
        if ("/last", [1]) in found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


async def test_requests_with_json_are_recorded_whole_and_no_others_and_none_is_refused(
    target: DockerTarget, web: Image, tmp_path: Path
) -> None:
    port = free_port()
    app = an_app(1, listen=port).model_copy(update={"record": Record(share=1.0, remove=("secret",))})
    recordings = Recordings(tmp_path / "recorded", tmp_path / "gateway" / "config" / SOCKET)
    recordings.expect([app])
    await target.roll_out(app, a_deploy(1, web), web, FakeProgress(ReadyGate()))
    large = {"x": "y" * (LARGEST - 20)}
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}", verify=False) as http:
        asked: list[tuple[str, Any, dict[str, str]]] = [
            ("/predict", json.dumps({"a": 1, "secret": 2}), {}),
            ("/predict", json.dumps(large), {}),
            ("/predict", json.dumps(large), {"X-Long": "h" * 6000}),  # head and body together are more than the buffer
            ("/predict", json.dumps({"x": "y" * LARGEST}), {}),
            ("/predict?user=7", "{}", {}),
            ("/predict", "no json", {"Content-Type": "text/plain"}),
            ("/last", "[1]", {}),
        ]
        for path, body, headers in asked:
            answer = await http.post(path, content=body, headers={"Content-Type": "application/json", **headers})
            assert answer.status_code == 200
    assert await asyncio.to_thread(until_the_last, recordings) == [
        ("/predict", {"a": 1}),
        ("/predict", large),
        ("/last", [1]),
    ]
    recordings.close()
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:  # deployd is away
        answer = await http.post(f"http://127.0.0.1:{port}/", json={})
        assert answer.status_code == 200
