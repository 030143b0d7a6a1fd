"""Sends many requests to one release: several at once, each within a time limit, and measures each answer.

Knows HTTP and JSON, not what an answer should be. The user's proxy settings are never used.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from deployd.probe import client
from deployd.tasks import together

ONE_ANSWER_SECONDS = 30.0
_LONGEST_SHOWN = 200
_MOST_UNANSWERED = 10
_JSON = {"Content-Type": "application/json"}


class Request(Protocol):
    """A request: a method, a path with its query, and JSON as the body (None: no body)."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def body(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request: `status`, the JSON in it (`value`) and how long it took. `fault` says why there is none: no answer
    (`status` 0), or one that is not JSON. `lost`: the connection ended before the answer came."""

    status: int
    value: Any
    seconds: float
    fault: str = ""
    lost: bool = False

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status <= 299


class Asker:
    """Asks one release; `asking` makes it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, request: Request) -> Response:
        """Send one request and read its answer whole."""
        content = None if request.body is None else json.dumps(request.body).encode()
        headers = _JSON if content is not None else None
        began = time.monotonic()
        try:
            async with asyncio.timeout(ONE_ANSWER_SECONDS):
                answer = await self._http.request(request.method, request.url, content=content, headers=headers)
        except TimeoutError:
            return Response(
                0, None, time.monotonic() - began, f"{request.url} gives no answer in {ONE_ANSWER_SECONDS:g} s"
            )
        except httpx.HTTPError as exc:
            why = str(exc) or type(exc).__name__
            lost = not isinstance(exc, httpx.ConnectError)
            return Response(0, None, time.monotonic() - began, f"{request.url} does not answer: {why}", lost)
        return _read(request, answer, time.monotonic() - began)

    async def ask_all(self, requests: Sequence[Request], concurrency: int) -> list[Response | None]:
        """The answers in the order of the requests, at most `concurrency` at once. None for those that were not sent any more,
        since too many before them got no answer."""
        answers: list[Response | None] = [None] * len(requests)
        positions, unanswered = iter(range(len(requests))), 0

        async def work() -> None:
            nonlocal unanswered
            for position in positions:
                answer = answers[position] = await self.ask(requests[position])
                unanswered += not answer.status
                if unanswered >= _MOST_UNANSWERED:
                    return

        await together(*(work() for _ in range(min(concurrency, len(requests)))))
        return answers


@asynccontextmanager
async def asking(address: str, headers: Mapping[str, str]) -> AsyncIterator[Asker]:
    """Ask the release at `address`, inside the block."""
    async with client(address, headers) as http:
        http.timeout = httpx.Timeout(ONE_ANSWER_SECONDS)
        yield Asker(http)


def _read(request: Request, answer: httpx.Response, seconds: float) -> Response:
    try:
        return Response(answer.status_code, answer.json(), seconds)
    except ValueError:
        fault = f"the answer is not JSON: {answer.text[:80]!r}"
    except RecursionError:
        fault = "the answer is nested too deeply"
    if not answer.is_success:
        fault = f"{request.url} answers {answer.status_code}: {answer.text[:_LONGEST_SHOWN]}".rstrip(": \n")
    return Response(answer.status_code, None, seconds, fault)


def refusal(url: str, answer: Response) -> str:
    """The fault of an answer that is not 2xx or not JSON; empty when there is none."""
    if answer.fault or answer.ok:
        return answer.fault
    text = json.dumps(answer.value, ensure_ascii=False)
    return f"{url} answers {answer.status}: {text[:_LONGEST_SHOWN]}"
