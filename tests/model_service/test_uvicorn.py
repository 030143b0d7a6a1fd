"""The parts of uvicorn that the service overrides or relies on. They are not public: any version may change them."""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

FINGERPRINTS: dict[Callable[..., Any], str] = {
    HttpToolsProtocol.__init__: "4f0899941034",
    HttpToolsProtocol.connection_made: "6efb565ff3d3",
    HttpToolsProtocol.connection_lost: "c91a4c9bf2e2",
    HttpToolsProtocol.data_received: "010a7ae59a5d",
    HttpToolsProtocol.send_400_response: "ae5a4a3782b6",
    HttpToolsProtocol.on_message_begin: "96d377fdc7c2",
    HttpToolsProtocol.on_headers_complete: "1ea8589acfad",
    HttpToolsProtocol.on_body: "dba9c32aeba3",
    HttpToolsProtocol.on_message_complete: "1fbad42dc31f",
    HttpToolsProtocol.on_response_complete: "64e254f28e38",
    HttpToolsProtocol.shutdown: "d7351fa33f00",
    RequestResponseCycle.__init__: "4d2f220910c3",
    RequestResponseCycle.run_asgi: "0f33f2449a44",
    RequestResponseCycle.send: "abdd8601b326",
    RequestResponseCycle.receive: "8124ae006be7",
    FlowControl.pause_reading: "7c27388bb984",
    FlowControl.resume_reading: "a0429d30857e",
    uvicorn.Server.serve: "112ef41af521",
    uvicorn.Server.startup: "2aa1d70a244b",
    uvicorn.Server.main_loop: "afccb353a119",
    uvicorn.Server.shutdown: "9b33c5056299",
    uvicorn.Server.capture_signals: "e1bbcd4770d1",
}


@pytest.mark.parametrize(
    ("method", "fingerprint"), FINGERPRINTS.items(), ids=lambda one: getattr(one, "__qualname__", "")
)
def test_uvicorn_is_still_what_the_connection_and_the_server_were_written_for(
    method: Callable[..., Any], fingerprint: str
) -> None:
    found = hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12]
    assert found == fingerprint, (
        f"{method.__qualname__} has changed in uvicorn {uvicorn.__version__}. Read it beside model_service/connection.py and "
        f"the Server in model_service/__main__.py, adapt them where they need it, then write {found} here."
    )


def test_uvicorn_has_an_upper_bound_right_above_the_version_that_was_read() -> None:
    major, minor = uvicorn.__version__.split(".")[:2]
    requirement = f"uvicorn>=0.40,<{major}.{int(minor) + 1}"
    root = Path(__file__).parents[2]
    assert f"{requirement}\n" in (root / "model_service/serving.in").read_text()
    assert f'"{requirement}"' in (root / "pyproject.toml").read_text()
