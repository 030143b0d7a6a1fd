import time

from deployd.domain import GateResult
from deployd.gates.ready import ReadyGate
from tests.fakes import FakeLog
from tests.gates.service import COMMIT, Answer, a_candidate, as_json, serving

READY = {"path": "/ready", "within": "5s", "every": "10ms", "commit_path": "/version"}


async def ask(address: str, **ready: str) -> GateResult:
    return await ReadyGate().ask(a_candidate(address, ready={**READY, **ready}), None, FakeLog())


async def test_it_passes_once_the_release_answers_and_reports_its_commit() -> None:
    asked: list[str] = []

    def answer(path: str, body: bytes) -> Answer:
        asked.append(path)
        return (200, as_json({"commit": COMMIT})) if path == "/version" else (503 if len(asked) < 4 else 200, b"")

    async with serving(answer) as address:
        result = await ask(address)

    assert result.verdict == "passed"
    assert result.detail.endswith(f"says commit {COMMIT[:12]}")
    assert asked == ["/ready"] * 4 + ["/version"]


async def test_a_commit_in_plain_text_is_understood() -> None:
    async with serving(lambda path, body: (200, f"{COMMIT}\n".encode())) as address:
        assert (await ask(address)).verdict == "passed"


async def test_another_commit_fails_at_once_and_names_both() -> None:
    async with serving(lambda path, body: (200, as_json({"commit": "0ld"}))) as address:
        began = time.monotonic()
        result = await ask(address, within="60s")
    assert time.monotonic() - began < 30
    assert result == GateResult("ready", "failed", f"/version says commit 0ld, expected {COMMIT}")


async def test_without_a_commit_path_any_commit_is_accepted() -> None:
    async with serving(lambda path, body: (204, b"")) as address:
        candidate = a_candidate(address, ready={"path": "/ready", "within": "5s"})
        assert (await ReadyGate().ask(candidate, None, FakeLog())).verdict == "passed"


async def test_a_release_that_never_gets_ready_fails_with_its_last_answer() -> None:
    async with serving(lambda path, body: (503, b"no model")) as address:
        result = await ask(address, within="200ms")
    assert result == GateResult("ready", "failed", "not ready within 0.2 s: /ready: 503: no model")


async def test_a_closed_port_fails_with_connection_refused() -> None:
    async with serving(lambda path, body: (200, b"")) as address:
        pass
    result = await ask(address, within="200ms")
    assert result == GateResult("ready", "failed", "not ready within 0.2 s: /ready: connection refused")


async def test_a_redirect_is_not_ready() -> None:
    async with serving(lambda path, body: (302, b"")) as address:
        assert (await ask(address, within="200ms")).detail == "not ready within 0.2 s: /ready: 302"
