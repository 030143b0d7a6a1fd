"""The gate for models: a candidate must give the recorded answers to recorded requests, in time.

The golden file is read from the commit, else from the image, where a build that trains a model writes it.
"""

import time
from collections.abc import Awaitable, Callable

import httpx

from deployd.config.app import Golden
from deployd.domain import GateResult
from deployd.errors import RolloutFailed
from deployd.gates.answers import Case, Document, difference, parse
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.probe import client

ImageReader = Callable[[Candidate, str], Awaitable[bytes | None]]
"""Reads a file of a candidate's image by its path from the working directory; None when it does not exist."""

_ONE_ANSWER_SECONDS = 30.0


class GoldenGate:
    """Sends the requests of `[app.golden]` to the candidate; for apps with that table."""

    name = "golden"

    def __init__(self, read_image: ImageReader | None = None) -> None:
        self._read_image = read_image

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:  # noqa: ARG002 - the port's signature
        """Passed with the number of answers and the slowest time; failed with the first that is wrong, slow or missing."""
        if (golden := candidate.app.golden) is None:
            return GateResult(self.name, "passed", "the app has no golden answers")
        try:
            document = parse(await self._file(candidate, context, golden.file), golden.file)
            slowest = await _replay(candidate, golden, document)
        except RolloutFailed as exc:
            return GateResult(self.name, "failed", f"{exc.message} ({exc.hint})" if exc.hint else exc.message)
        count = len(document.cases)
        return GateResult(self.name, "passed", f"{count} of {count} answers equal, slowest {slowest * 1000:.1f} ms")

    async def _file(self, candidate: Candidate, context: Context | None, path: str) -> bytes:
        if context is not None and (content := await context.read(path)) is not None:
            return content
        if self._read_image is not None and (content := await self._read_image(candidate, path)) is not None:
            return content
        raise RolloutFailed(f"{path} is neither in the commit nor in the image", hint="check app.golden.file")


async def _replay(candidate: Candidate, golden: Golden, document: Document) -> float:
    """Send every case; the seconds of the slowest. The app's config takes precedence over the golden file."""
    url = golden.url if "url" in golden.model_fields_set else document.url or golden.url
    tolerance = golden.tolerance
    if "tolerance" not in golden.model_fields_set and document.tolerance is not None:
        tolerance = document.tolerance
    slowest, count = 0.0, len(document.cases)
    async with client(candidate.address, candidate.headers) as http:
        await _answer(http, document.method, url, document.cases[0], "the warm-up call")
        for number, case in enumerate(document.cases, start=1):
            began = time.monotonic()
            answer = await _answer(http, document.method, url, case, f"case {number} of {count}")
            slowest = max(slowest, took := time.monotonic() - began)
            if (found := _difference(answer, case, tolerance)) is not None:
                raise RolloutFailed(f"case {number} of {count}: {found}")
            if golden.latency is not None and took > golden.latency:
                raise RolloutFailed(
                    f"case {number} of {count} took {took * 1000:.0f} ms, at most {golden.latency * 1000:.0f} ms is allowed"
                )
    return slowest


async def _answer(http: httpx.AsyncClient, method: str, url: str, case: Case, what: str) -> httpx.Response:
    try:
        answer = await http.request(method, url, json=case.request, timeout=_ONE_ANSWER_SECONDS)
    except httpx.HTTPError as exc:
        raise RolloutFailed(f"{what}: {url} does not answer: {str(exc) or type(exc).__name__}") from exc
    if not answer.is_success:
        raise RolloutFailed(f"{what}: {url} answers {answer.status_code}: {answer.text[:200]}".rstrip(": \n"))
    return answer


def _difference(answer: httpx.Response, case: Case, tolerance: float) -> str | None:
    try:
        return difference(answer.json(), case.response, tolerance)
    except ValueError:
        return f"the answer is not JSON: {answer.text[:80]!r}"
    except RecursionError:
        return "the answer is nested too deeply"
