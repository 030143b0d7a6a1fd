"""An app's own gates: what commands and URLs are told, and what their answers mean."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pydantic import TypeAdapter

from deployd.config.own_gates import OwnGate as Settings
from deployd.domain import GateResult
from deployd.errors import ConfigError
from deployd.gates.own import OwnGate, missing
from deployd.ports.gate import Candidate, Serving
from tests.fakes import FakeLog
from tests.gates.service import COMMIT, Answer, a_candidate, as_json, serving


def _settings(**keys: Any) -> Settings:
    return TypeAdapter(Settings).validate_python({"name": "fairness", "timeout": "20s", **keys})


async def _asked(log: FakeLog | None = None, *, live: bool = False, **keys: Any) -> GateResult:
    candidate = a_candidate("http://127.0.0.1:5000")
    if live:
        candidate = Candidate(
            candidate.app,
            candidate.deploy,
            candidate.address,
            candidate.image,
            {"Host": "iris.example.com"},
            Serving(7, "http://127.0.0.1:5007"),
        )
    return await OwnGate(_settings(**keys)).ask(candidate, None, log or FakeLog())


async def test_a_command_is_told_what_is_deployed() -> None:
    log = FakeLog()
    passed = await _asked(log, live=True, command="env | grep ^DEPLOYD_ | sort; echo fair")
    assert passed == GateResult("fairness", "passed", "fair")
    assert log.text.splitlines() == [
        "DEPLOYD_APP=iris",
        "DEPLOYD_CANDIDATE_URL=http://127.0.0.1:5000",
        f"DEPLOYD_COMMIT={COMMIT}",
        "DEPLOYD_DEPLOY=1",
        'DEPLOYD_HEADERS={"Host": "iris.example.com"}',
        f"DEPLOYD_IMAGE=deployd/iris:{COMMIT}",
        "DEPLOYD_LIVE_URL=http://127.0.0.1:5007",
        "fair",
    ]


async def test_without_a_live_release_the_live_url_is_empty() -> None:
    assert (await _asked(command='echo "[$DEPLOYD_LIVE_URL]"')).detail == "[]"


async def test_a_rollback_is_not_asked_so_that_the_way_back_is_short() -> None:
    candidate = a_candidate("http://127.0.0.1:5000")
    back = replace(candidate, deploy=structs.replace(candidate.deploy, rollback_to=1))
    found = await OwnGate(_settings(command="exit 1")).ask(back, None, FakeLog())
    assert (found.verdict, found.detail) == ("not_judged", "a rollback is not asked: somebody has chosen this release")


async def test_a_list_is_run_without_a_shell() -> None:
    assert (await _asked(command=["echo", "$HOME;", "a b"])).detail == "$HOME; a b"


async def test_a_verdict_may_be_json_in_the_last_line() -> None:
    said = {"verdict": "warned", "detail": "gap 0.04", "figures": {"gap": 0.04}, "rows": [{"country": "NL"}]}
    found = await _asked(command=["echo", json.dumps(said)])
    assert found == GateResult("fairness", "warned", "gap 0.04", {"gap": 0.04}, ({"country": "NL"},))


async def test_a_command_that_takes_too_long_has_failed_and_its_output_is_in_the_log() -> None:
    log = FakeLog()
    found = await _asked(log, command="echo asking; sleep 600", timeout="300ms")
    assert found == GateResult("fairness", "failed", "took longer than 0.3 s and was killed")
    assert log.text == "asking\n"


async def test_secrets_are_masked_in_what_a_command_says() -> None:
    log = FakeLog()
    log.hide("t0ken")
    found = await _asked(log, command="""echo '{"verdict": "failed", "detail": "t0ken", "figures": {"a": "t0ken"}}'""")
    assert (found.detail, found.figures) == ("***", {"a": "***"})
    assert "t0ken" not in log.text


async def test_a_command_that_is_not_there_is_a_fault_of_the_config(tmp_path: Path) -> None:
    plain = tmp_path / "gate"
    plain.write_text("#!/bin/sh\n")
    for command, why in (("/nowhere/gate", "there is no command /nowhere/gate"), (str(plain), "is not executable")):
        with pytest.raises(ConfigError, match=f"app.iris.gate.fairness.command: .*{why}"):
            await _asked(command=[command])
    assert missing(_settings(command=["no-such-command"])).startswith("there is no command no-such-command in /")
    assert missing(_settings(command=["sh"])) == missing(_settings(url="http://127.0.0.1/")) == ""


async def _posted(*answers: Answer, timeout: str = "20s") -> tuple[GateResult, list[Any]]:
    left, bodies = list(answers), list[Any]()

    def answer(path: str, body: bytes) -> Answer:
        assert path == "/gate"
        bodies.append(json.loads(body))
        return left.pop(0)

    async with serving(answer) as url:
        return await _asked(live=True, url=f"{url}/gate", timeout=timeout), bodies


async def test_a_url_is_posted_what_is_deployed_and_answers_with_a_verdict() -> None:
    said = {"verdict": "failed", "detail": "unfair to NL", "figures": {"gap": 0.2}}
    found, (body,) = await _posted((200, as_json(said)))
    assert found == GateResult("fairness", "failed", "unfair to NL", {"gap": 0.2})
    assert body == {
        "name": "fairness",
        "app": "iris",
        "deploy": 1,
        "commit": COMMIT,
        "image": f"deployd/iris:{COMMIT}",
        "candidate": "http://127.0.0.1:5000",
        "live": "http://127.0.0.1:5007",
        "headers": {"Host": "iris.example.com"},
    }


@pytest.mark.parametrize(
    ("answer", "verdict", "detail"),
    [
        ((204, b""), "passed", "it answers 204"),
        ((202, b" \n"), "passed", "it answers 202"),
        ((200, b"fair"), "failed", "its verdict cannot be read: it is not JSON: fair"),
        ((404, b"no such gate"), "failed", "it answers 404: no such gate"),
        ((500, b""), "failed", "it answers 500"),
        ((302, b""), "failed", "it answers 302"),
    ],
)
async def test_the_status_of_an_answer_counts(answer: Answer, verdict: str, detail: str) -> None:
    found, _ = await _posted(answer)
    assert (found.verdict, found.detail) == (verdict, detail)


async def test_a_redirect_is_not_followed_and_says_where_to() -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 308 -\r\nLocation: /new/gate\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        found = await _asked(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/gate")
    assert found == GateResult("fairness", "failed", "it answers 308: a redirect to /new/gate, which is not followed")


async def test_an_answer_that_is_too_long_is_no_verdict() -> None:
    found, _ = await _posted((200, b"x" * 70_000))
    assert (found.verdict, found.detail) == ("failed", "its answer is longer than 64 KiB")


async def test_a_long_answer_that_is_no_verdict_is_told_in_short() -> None:
    found, _ = await _posted((500, b"x" * 60_000))
    assert found.verdict == "failed"
    assert found.detail.startswith("it answers 500: xxx")
    assert len(found.detail) <= 500


async def test_a_url_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.gates.own._AGAIN_S", 0.01)
    found, bodies = await _posted((503, b"starting"), (204, b""))
    assert (found.verdict, len(bodies)) == ("passed", 2)


async def test_a_url_that_stays_away_has_failed_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.gates.own._AGAIN_S", 0.01)
    found = await _asked(url="http://127.0.0.1:9/gate", timeout="100ms")
    assert found.verdict == "failed"
    assert found.detail.startswith("http://127.0.0.1:9/gate gave no verdict within 0.1 s: ")
