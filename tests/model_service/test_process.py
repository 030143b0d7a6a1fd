"""The service as a process: its start, its exit, and several workers."""

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
REQUEST = json.dumps({"instances": [ROW]})


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_version_shows_the_commit_of_the_image_and_sigterm_ends_with_0(iris_dir: Path) -> None:
    with running(iris_dir, MODEL_COMMIT="f" * 40) as service:
        assert Client(service.url).version()["commit"] == "f" * 40
        assert service.stop() == 0


def test_trees_are_served_in_little_memory_without_scikit_learn_and_numpy(iris_dir: Path) -> None:
    with running(iris_dir) as service:
        httpx.post(f"{service.url}/predict", content=REQUEST)
        assert memory(service.process.pid) < 80e6
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert "sklearn" not in maps
        assert "numpy" not in maps


def test_the_process_ends_with_the_reason_if_the_model_cannot_be_served(tmp_path: Path, iris_dir: Path) -> None:
    (tmp_path / "manifest.json").write_text((iris_dir / "manifest.json").read_text())
    for options in ((), ("--workers", "2")):
        with started(tmp_path, *options) as service:
            assert service.process.stderr is not None
            errors = service.process.stderr.read()
            assert service.process.wait(30) == 1
            assert "error: cannot read model.json" in errors
            assert "hint: " in errors


def test_after_sigterm_readiness_is_off_and_requests_are_still_answered(iris_dir: Path) -> None:
    with running(iris_dir, "--drain", "2") as service, httpx.Client(base_url=service.url, verify=False) as caller:
        assert caller.get("/v2/health/ready").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while caller.get("/v2/health/ready").status_code == 200:
            assert time.monotonic() < deadline
        answer = caller.post("/predict", content=REQUEST)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert service.process.wait(30) == 0


def test_a_request_in_flight_is_finished_before_the_exit(iris_dir: Path) -> None:
    with running(iris_dir, "--drain", "0") as service:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as caller:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(REQUEST)}\r\n\r\n"
            caller.sendall(head.encode() + REQUEST[:10].encode())
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            caller.sendall(REQUEST[10:].encode())
            answer = http.client.HTTPResponse(caller)
            answer.begin()
            assert answer.status == 200
            assert json.load(answer)["predictions"][0]["label"] == "setosa"
        assert service.process.wait(30) == 0


def test_a_body_that_does_not_come_gets_a_408_and_its_connection_is_closed(iris_dir: Path) -> None:
    with running(iris_dir, "--body-timeout", "0.4") as service:
        address = urlsplit(service.url)
        for sent in ("", REQUEST[:10]):
            with socket.create_connection((address.hostname, address.port), timeout=30) as caller:
                caller.sendall(
                    f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(REQUEST)}\r\n\r\n{sent}".encode()
                )
                answer = http.client.HTTPResponse(caller)
                answer.begin()
                assert answer.status == 408
                assert "did not arrive" in json.load(answer)["error"]
                assert caller.recv(1) == b""


def send_until(stop: threading.Event, services: list[Running], statuses: list[int]) -> None:
    """Sends requests to the first service in the list, as a gateway that switches would, with keep-alive."""
    with httpx.Client(verify=False) as caller:
        while not stop.is_set():
            statuses.append(caller.post(f"{services[0].url}/predict", content=REQUEST).status_code)


def test_no_request_is_lost_if_the_traffic_moves_to_another_service_before_sigterm(iris_dir: Path) -> None:
    with running(iris_dir) as first, running(iris_dir) as second:
        services, stop, statuses = [first, second], threading.Event(), list[int]()
        callers = [threading.Thread(target=send_until, args=(stop, services, statuses)) for _ in range(4)]
        for caller in callers:
            caller.start()
        while len(statuses) < 200:
            time.sleep(0.01)
        services.pop(0)
        assert first.stop() == 0
        moved = len(statuses)
        while len(statuses) < moved + 200:
            time.sleep(0.01)
        stop.set()
        for caller in callers:
            caller.join(30)
    assert set(statuses) == {200}


def test_workers_share_the_socket_and_the_counters_and_are_replaced_when_killed(iris_dir: Path) -> None:
    with running(iris_dir, "--workers", "2") as service:
        for _ in range(20):
            assert httpx.post(f"{service.url}/predict", content=REQUEST).status_code == 200
        time.sleep(0.5)  # until both have flushed their counts
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


def test_with_batching_every_caller_gets_its_own_predictions_while_another_sends_faults(polynomial_dir: Path) -> None:
    """Eight callers send good rows, and one sends faults. Half of the faults are noticed only by the estimator."""
    model = load(polynomial_dir)
    rows = [[4.0 + i / 4, 3.0, 1.0 + i / 3, i / 8] for i in range(16)]
    expected = [json.loads(prediction.json) for prediction in model.predict(rows)]
    faults: list[int] = []
    wrong: list[object] = []

    def send_good(first: int) -> None:
        with httpx.Client(base_url=service.url, verify=False) as caller:
            for i in range(first, first + 60):
                answer = caller.post("/predict", json={"instances": [rows[i % 16]]})
                if answer.status_code != 200 or not agrees(answer.json()["predictions"], [expected[i % 16]], 1e-9):
                    wrong.append((i, answer.text))

    def send_faults() -> None:
        too_large = {"instances": [[3e38] * 4]}
        bodies = ({"instances": [[1, 2, 3]]}, too_large, {"instances": [[1, 2, 3, "x"]]}, too_large)
        with httpx.Client(base_url=service.url, verify=False) as caller:
            faults.extend(caller.post("/predict", json=bodies[i % 4]).status_code for i in range(60))

    with running(polynomial_dir) as service:
        callers = [threading.Thread(target=send_good, args=(first,)) for first in range(8)]
        callers.append(threading.Thread(target=send_faults))
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(120)
    assert wrong == []
    assert set(faults) == {422}


def test_a_prediction_that_takes_too_long_is_a_504(pipeline_dir: Path) -> None:
    with running(pipeline_dir, "--timeout", "0.000001") as service:
        answer = httpx.post(f"{service.url}/predict", content=REQUEST)
        assert (answer.status_code, answer.json()["error"]) == (504, "no answer within 1e-06 s")


def test_more_requests_at_once_than_allowed_get_a_503_with_retry_after(pipeline_dir: Path) -> None:
    with running(pipeline_dir, "--max-waiting", "1") as service:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            deadline = time.monotonic() + 10
            while (answer := httpx.post(f"{service.url}/predict", content=REQUEST)).status_code == 200:
                assert time.monotonic() < deadline
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{service.url}/v2/health/live").status_code == 200


def test_memory_stays_flat_over_100_000_requests(iris_dir: Path) -> None:
    with running(iris_dir) as service:
        address = urlsplit(service.url)

        def send(times: int) -> None:
            caller = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
            for i in range(times):
                caller.request("POST", "/predict", REQUEST if i % 10 else '{"instances": [[1, "x"]]}')
                caller.getresponse().read()
            caller.close()

        def send_from_four_callers(times: int) -> None:
            callers = [threading.Thread(target=send, args=(times // 4,)) for _ in range(4)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()

        send_from_four_callers(20_000)
        before = memory(service.process.pid)
        send_from_four_callers(100_000)
        assert memory(service.process.pid) - before < 1_000_000
