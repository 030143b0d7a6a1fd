"""`deployd golden`: files are made from a service that runs, and tried against it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jsonschema_rs import Draft202012Validator
from typer.testing import Result

Command = Callable[..., Result]


class _Doubles(BaseHTTPRequestHandler):
    factor = 2

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"y": asked["x"] * self.factor}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Doubles) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_recorded_file_fits_the_printed_schema_and_passes_until_the_service_answers_differently(
    service: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, golden = tmp_path / "requests.jsonl", tmp_path / "golden.json"
    requests.write_text('{"x": 1}\n{"x": 2}\n')
    recorded = command("golden", "record", f"{service}/double", "--requests", str(requests), "-o", str(golden))
    assert (recorded.exit_code, recorded.stdout) == (0, f"{golden}: 2 cases of /double\n")
    Draft202012Validator(json.loads(command("golden", "schema").stdout)).validate(json.loads(golden.read_text()))

    passed = command("golden", "try", str(golden), service)
    assert passed.exit_code == 0
    assert passed.stdout.startswith("✓ 2 of 2 answers equal")

    monkeypatch.setattr(_Doubles, "factor", 3)
    failed = command("golden", "try", str(golden), service)
    assert failed.exit_code == 1
    assert failed.stdout.splitlines() == [
        "✗ case 1 of 2: $.y: 3, expected 2 (1 more of 2 are wrong)",
        "  case 1 of 2: $.y: 3, expected 2",
        "  case 2 of 2: $.y: 6, expected 4",
    ]
    told = json.loads(command("golden", "try", str(golden), service, "--json").stdout)
    assert (told["verdict"], [row["got"] for row in told["rows"]]) == ("failed", [3, 6])


def test_a_service_that_is_away_and_a_file_that_is_none_are_told_without_a_traceback(
    command: Command, tmp_path: Path
) -> None:
    golden = tmp_path / "golden.json"
    golden.write_text('{"cases": [{"request": 1, "response": 1}]}')
    away = command("golden", "try", str(golden), "http://127.0.0.1:1")
    assert away.exit_code == 1
    assert "the warm-up call: /predict does not answer: " in away.stdout
    missing = command("golden", "try", str(tmp_path / "none.json"), "http://127.0.0.1:1")
    assert (missing.exit_code, missing.stderr.splitlines()[0]) == (
        1,
        f"error: {tmp_path}/none.json: No such file or directory",
    )
    golden.write_text("{}")
    refused = command("golden", "try", str(golden), "http://127.0.0.1:1")
    assert refused.stderr.startswith(f"error: {golden} is not a golden file: object missing required field cases\n")
