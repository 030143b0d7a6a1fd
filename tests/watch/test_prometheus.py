"""A query of a Prometheus: its answers read, two above the limit, and all that is no number."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from deployd.config.watch import Prometheus
from deployd.watch.prometheus import Query, read
from tests.testbed.prometheus import prometheus


def _vector(*values: object) -> bytes:
    result = [{"metric": {"i": str(at)}, "value": [1.7e9, value]} for at, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (_vector("0.25"), 0.25),
        (_vector("1e-9"), 1e-9),
        (b'{"status":"success","data":{"resultType":"scalar","result":[1.7e9,"2"]},"infos":["x"]}', 2.0),
    ],
)
def test_one_finite_number_is_read(content: bytes, number: float) -> None:
    assert read(200, content).number == number


@pytest.mark.parametrize(
    ("status", "content", "trouble"),
    [
        (200, _vector(), "the query gives nothing: no series matches it"),
        (200, _vector("NaN"), "the query gives NaN, which is not a number"),
        (200, _vector("+Inf"), "the query gives +Inf, which is not a number"),
        (200, _vector("NaN", "2"), "the query gives 2 series, and must give one: sum(...) makes one of them"),
        (200, _vector("1", "2"), "the query gives 2 series, and must give one: sum(...) makes one of them"),
        (
            200,
            b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
            "the query gives a matrix, and must give one number",
        ),
        (
            400,
            b'{"status":"error","errorType":"bad_data","error":"1:5: parse error"}',
            "the query fails (400): bad_data: 1:5: parse error",
        ),
        (401, b"<html>", "it answers 401: it needs a valid login: set token or headers"),
        (502, b"<html>Bad Gateway</html>", "the answer (502) is not from Prometheus"),
        (200, b"[]", "the answer (200) is not from Prometheus"),
        (200, b'{"status":"success"}', "the query gives a None, and must give one number"),
        (
            200,
            b'{"status":"success","data":{"resultType":"vector","result":[{}]}}',
            "the answer is not from Prometheus: a vector",
        ),
    ],
)
def test_all_else_says_why_it_is_no_number(status: int, content: bytes, trouble: str) -> None:
    answer = read(status, content)
    assert (answer.number, answer.trouble) == (None, trouble)


class Server:
    """Speaks the documented HTTP API of a Prometheus, strictly, and answers in turn what it is given; the last is repeated."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.heads.append(head)
        assert head.startswith("post /api/v1/query http/1.1\r\n"), head
        assert "content-type: application/x-www-form-urlencoded" in head
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
        assert parse_qs((await reader.readexactly(length)).decode()) == {
            "query": ["errors > bool 0"],
            "timeout": ["5s"],
        }
        status, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(content)))
        writer.write(content)
        await writer.drain()
        writer.close()


async def _asked(*answers: tuple[int, bytes], times: int) -> tuple[list[str], Query]:
    async with Server(*answers).running() as server:
        settings = Prometheus(url=server.url, query="errors > bool 0", at_most=0.5)
        query = Query(settings, 30.0)
        return [await query.measure() for _ in range(times)], query


async def test_two_answers_above_the_limit_running_are_enough() -> None:
    said, query = await _asked((200, _vector("0.1")), (200, _vector("0.7")), (200, _vector("0.9")), times=3)
    assert said == ["", "", "Prometheus answers 0.7 and 0.9 to the query, at most 0.5 is allowed"]
    result = query.result()
    assert (result.verdict, result.moment) == ("failed", "after")
    assert result.figures == {"answers": 3, "at_most": 0.5, "last": 0.9, "highest": 0.9}


async def test_one_answer_above_the_limit_is_a_warning() -> None:
    said, query = await _asked((200, _vector("0.7")), (200, _vector("0.1")), times=3)
    assert said == [""] * 3
    assert (query.result().verdict, query.result().detail) == (
        "warned",
        "1 of 3 answers above 0.5, but never two in a row",
    )


async def test_a_token_and_headers_go_with_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret")
    async with Server((200, _vector("0.1"))).running() as server:
        who = {"token": "env:PROMETHEUS_TOKEN", "headers": {"X-Scope-OrgID": "ml"}}
        query = Query(Prometheus(url=server.url, query="errors > bool 0", at_most=0.5, **who), 30.0)
        await query.measure()
    assert {"authorization: bearer s3cret", "x-scope-orgid: ml"} <= set(server.heads[0].splitlines())
    assert query.result().verdict == "passed"


@pytest.mark.parametrize("token", [None, "s3cret\nmore", "s3cret-ü"])
async def test_a_token_that_cannot_be_read_or_sent_is_the_cause_of_a_warning(
    token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token is not None:
        monkeypatch.setenv("SOMEWHERE", token)
    query = Query(Prometheus(url="http://127.0.0.1:9", query="up", at_most=1, token="env:SOMEWHERE"), 30.0)
    assert await query.measure() == ""
    assert query.result().detail.startswith("the query gave no number: watch.prometheus.token: ")


def test_a_token_and_an_authorization_header_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="token and headers both set Authorization"):
        Prometheus(url="http://127.0.0.1:9", query="up", at_most=1, token="env:A", headers={"authorization": "Basic x"})


async def test_answers_at_the_limit_are_good() -> None:
    said, query = await _asked((200, _vector("0.5")), times=2)
    assert said == ["", ""]
    assert query.result().verdict == "passed"


async def test_an_error_between_two_high_answers_neither_counts_nor_clears() -> None:
    said, _ = await _asked((200, _vector("0.7")), (503, b"busy"), (200, _vector("0.8")), times=3)
    assert said[:2] == ["", ""]
    assert said[2]


async def test_a_query_that_never_gives_a_number_is_a_warning_with_the_cause() -> None:
    said, query = await _asked((200, _vector()), times=2)
    assert said == ["", ""]
    assert query.result().verdict == "warned"
    assert query.result().detail == "the query gave no number: the query gives nothing: no series matches it"


async def test_a_prometheus_that_does_not_answer_is_a_warning() -> None:
    query = Query(Prometheus(url="http://127.0.0.1:9", query="up", at_most=1), 30.0)
    assert await query.measure() == ""
    assert query.result().detail.startswith("the query gave no number: http://127.0.0.1:9 does not answer: ")


@pytest.mark.slow
async def test_a_real_prometheus_gives_numbers_and_says_what_is_none() -> None:
    two = 'vector(1) or label_replace(vector(2), "a", "b", "", "")'
    said = {}
    with prometheus() as url:
        for text in ("up", "scalar(vector(3))", "vector(1/3)", "absent_metric", "vector(0)/0", two, "up[5s]", "up["):
            query = Query(Prometheus(url=url, query=text, at_most=0.5), 30.0)
            said_then = [await query.measure() for _ in range(2)]
            said[text] = said_then[1] or query.result().detail.removeprefix("the query gave no number: ")
    assert said.pop("up[").startswith("the query fails (400): bad_data: ")
    assert said == {
        "up": "Prometheus answers 1 and 1 to the query, at most 0.5 is allowed",
        "scalar(vector(3))": "Prometheus answers 3 and 3 to the query, at most 0.5 is allowed",
        "vector(1/3)": "at most 0.333333 in 2 answers, 0.5 is allowed",
        "absent_metric": "the query gives nothing: no series matches it",
        "vector(0)/0": "the query gives NaN, which is not a number",
        two: "the query gives 2 series, and must give one: sum(...) makes one of them",
        "up[5s]": "the query gives a matrix, and must give one number",
    }
