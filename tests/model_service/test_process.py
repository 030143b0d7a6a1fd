"""The service as a process: how it starts, leaves, and runs with several workers."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from model_service import train
from model_service.client import Client, PredictionFailed, main
from model_service.golden import agrees
from model_service.model import load
from tests.model_service.process import Running, running, started, workers_of

pytestmark = pytest.mark.slow

ROW = [5.8, 4.0, 1.2, 0.2]
QUESTION = json.dumps({"instances": [ROW]})


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_commit_of_the_image_is_told_and_stopping_is_clean(iris_dir: Path) -> None:
    with running(iris_dir, MODEL_COMMIT="f" * 40) as service:
        assert Client(service.url).version()["commit"] == "f" * 40
        assert service.stop() == 0


def test_memory_is_small_without_scikit_learn(iris_dir: Path) -> None:
    with running(iris_dir) as service:
        httpx.post(f"{service.url}/predict", content=QUESTION)
        assert memory(service.process.pid) < 80e6
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert "sklearn" not in maps
        assert "numpy" not in maps


def test_a_model_that_cannot_be_served_ends_the_process_with_the_reason(tmp_path: Path, iris_dir: Path) -> None:
    (tmp_path / "manifest.json").write_text((iris_dir / "manifest.json").read_text())
    for options in ((), ("--workers", "2")):
        with started(tmp_path, *options) as service:
            assert service.process.stderr is not None
            said = service.process.stderr.read()
            assert service.process.wait(30) == 1
            assert "error: cannot read model.json" in said
            assert "hint: " in said


def test_leaving_turns_readiness_off_first_and_still_answers(iris_dir: Path) -> None:
    with running(iris_dir, "--drain", "2") as service, httpx.Client(base_url=service.url) as caller:
        assert caller.get("/v2/health/ready").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while caller.get("/v2/health/ready").status_code == 200:
            assert time.monotonic() < deadline
        answer = caller.post("/predict", content=QUESTION)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert service.process.wait(30) == 0


def test_a_request_in_flight_is_finished_on_the_way_out(iris_dir: Path) -> None:
    with running(iris_dir, "--drain", "0") as service:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as caller:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(QUESTION)}\r\n\r\n"
            caller.sendall(head.encode() + QUESTION[:10].encode())
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            caller.sendall(QUESTION[10:].encode())
            answer = http.client.HTTPResponse(caller)
            answer.begin()
            assert answer.status == 200
            assert json.load(answer)["predictions"][0]["label"] == "setosa"
        assert service.process.wait(30) == 0


def test_a_body_that_does_not_come_gets_a_408_and_its_connection_is_closed(iris_dir: Path) -> None:
    with running(iris_dir, "--body-timeout", "0.4") as service:
        address = urlsplit(service.url)
        for sent in ("", QUESTION[:10]):
            with socket.create_connection((address.hostname, address.port), timeout=30) as caller:
                caller.sendall(
                    f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(QUESTION)}\r\n\r\n{sent}".encode()
                )
                answer = http.client.HTTPResponse(caller)
                answer.begin()
                assert answer.status == 408
                assert "did not arrive" in json.load(answer)["error"]
                assert caller.recv(1) == b""


def asked_until(stop: threading.Event, services: list[Running], outcomes: list[int]) -> None:
    """One keep-alive caller; asks whichever service comes first in the list, as a gateway that switches would."""
    with httpx.Client() as caller:
        while not stop.is_set():
            outcomes.append(caller.post(f"{services[0].url}/predict", content=QUESTION).status_code)


def test_nothing_is_lost_when_the_traffic_was_moved_before_the_end(iris_dir: Path) -> None:
    with running(iris_dir) as first, running(iris_dir) as second:
        services, stop, outcomes = [first, second], threading.Event(), list[int]()
        callers = [threading.Thread(target=asked_until, args=(stop, services, outcomes)) for _ in range(4)]
        for caller in callers:
            caller.start()
        while len(outcomes) < 200:
            time.sleep(0.01)
        services.pop(0)
        assert first.stop() == 0
        moved = len(outcomes)
        while len(outcomes) < moved + 200:
            time.sleep(0.01)
        stop.set()
        for caller in callers:
            caller.join(30)
    assert set(outcomes) == {200}


def test_workers_share_the_socket_and_the_counters_and_are_replaced_when_they_die(iris_dir: Path) -> None:
    with running(iris_dir, "--workers", "2") as service:
        for _ in range(20):
            assert httpx.post(f"{service.url}/predict", content=QUESTION).status_code == 200
        time.sleep(0.5)  # until both have made visible what they counted
        before = workers_of(service)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while min(before) in (now := workers_of(service)) or len(now) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        service.wait_until_ready()
        assert 'model_requests_total{route="predict",status="200"} 20.0' in httpx.get(f"{service.url}/metrics").text
        assert service.stop() == 0


def test_the_client_prints_the_label_or_the_reason(iris_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(iris_dir) as service:
        assert main([*map(str, ROW), "--url", service.url]) == 0
        assert capsys.readouterr().out == "setosa\n"
        assert main(["1", "2", "--url", service.url]) == 1
        assert "expected 4 numbers" in capsys.readouterr().err
        with pytest.raises(PredictionFailed) as failed:
            Client(service.url).predict([])
        assert failed.value.status == 422
        named = {"sepal_length": 6.0, "sepal_width": 3.0, "petal_length": 5.5, "petal_width": 2.0}
        assert Client(service.url).predict([ROW, named])[1]["class"] == 2
    assert main([*map(str, ROW), "--url", service.url]) == 1
    assert "no answer from" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pipeline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pipeline")
    assert train.main(["--out", str(out), "--task", "tests.model_service.tasks"]) == 0
    return out


def test_with_batching_on_nobody_pays_for_or_gets_what_another_sent(powers_dir: Path) -> None:
    """Eight callers with rows of their own beside one who sends only faults, half of them seen only by the estimator."""
    model = load(powers_dir)
    rows = [[4.0 + i / 4, 3.0, 1.0 + i / 3, i / 8] for i in range(16)]
    wanted = [json.loads(answer.json) for answer in model.answers(rows)]
    faults: list[int] = []
    wrong: list[object] = []

    def good(turn: int) -> None:
        with httpx.Client(base_url=service.url) as caller:
            for i in range(turn, turn + 60):
                answer = caller.post("/predict", json={"instances": [rows[i % 16]]})
                if answer.status_code != 200 or not agrees(answer.json()["predictions"], [wanted[i % 16]], 1e-9):
                    wrong.append((i, answer.text))

    def bad() -> None:
        endless = {"instances": [[3e38] * 4]}
        bodies = ({"instances": [[1, 2, 3]]}, endless, {"instances": [[1, 2, 3, "x"]]}, endless)
        with httpx.Client(base_url=service.url) as caller:
            faults.extend(caller.post("/predict", json=bodies[i % 4]).status_code for i in range(60))

    with running(powers_dir) as service:
        callers = [threading.Thread(target=good, args=(turn,)) for turn in range(8)] + [threading.Thread(target=bad)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(120)
    assert wrong == []
    assert set(faults) == {422}


def test_a_prediction_that_takes_too_long_is_a_504(pipeline_dir: Path) -> None:
    with running(pipeline_dir, "--timeout", "0.000001") as service:
        answer = httpx.post(f"{service.url}/predict", content=QUESTION)
        assert (answer.status_code, answer.json()["error"]) == (504, "no answer within 1e-06 s")


def test_more_requests_at_once_than_allowed_get_a_503_with_retry_after(pipeline_dir: Path) -> None:
    with running(pipeline_dir, "--max-waiting", "1") as service:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            deadline = time.monotonic() + 10
            while (answer := httpx.post(f"{service.url}/predict", content=QUESTION)).status_code == 200:
                assert time.monotonic() < deadline
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{service.url}/v2/health/live").status_code == 200


@pytest.mark.slow
def test_memory_stays_flat_over_100_000_requests(iris_dir: Path) -> None:
    with running(iris_dir) as service:
        address = urlsplit(service.url)

        def ask(times: int) -> None:
            caller = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
            for i in range(times):
                caller.request("POST", "/predict", QUESTION if i % 10 else '{"instances": [[1, "x"]]}')
                caller.getresponse().read()
            caller.close()

        def ask_from_four(times: int) -> None:
            callers = [threading.Thread(target=ask, args=(times // 4,)) for _ in range(4)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()

        ask_from_four(20_000)
        before = memory(service.process.pid)
        ask_from_four(100_000)
        assert memory(service.process.pid) - before < 1_000_000
