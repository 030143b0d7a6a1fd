"""The sign that a number in a Prometheus is above its limit, twice running.

No answer, and an answer without a number, say nothing about the release.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from deployd.config.values import read_token
from deployd.config.watch import Prometheus
from deployd.domain import GateResult
from deployd.errors import ConfigError

_TIMEOUT_SECONDS = 5.0
_LONGEST_SAID = 200
_ENOUGH = 2
_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave: a number, or why there is none."""

    number: float | None = None
    trouble: str = ""


class Query:
    """The query of an app, in one watch."""

    name = "prometheus"

    def __init__(self, settings: Prometheus, length: float) -> None:
        """`length` of the watch in seconds."""
        self.every = min(max(length / 10, 1.0), 15.0)
        self._settings = settings
        self._numbers: list[float] = []
        self._running = 0
        self._trouble = "it was not asked"

    async def measure(self) -> str:
        """See Sign."""
        answer = await self._ask()
        if answer.number is None:
            self._trouble = answer.trouble
            return ""
        self._numbers.append(answer.number)
        self._running = self._running + 1 if answer.number > self._settings.at_most else 0
        return self._said if self._running >= _ENOUGH else ""

    def result(self) -> GateResult:
        """See Sign."""
        figures: dict[str, Any] = {"answers": len(self._numbers), "at_most": self._settings.at_most}
        if not self._numbers:
            detail = f"the query gave no number: {self._trouble}"
            return GateResult(self.name, "warned", detail, figures, moment="after")
        figures |= {"last": self._numbers[-1], "highest": max(self._numbers)}
        if self._running >= _ENOUGH:
            return GateResult(self.name, "failed", self._said, figures, moment="after")
        above = sum(number > self._settings.at_most for number in self._numbers)
        if above:
            detail = f"{above} of {len(self._numbers)} answers above {self._settings.at_most:g}, but never two in a row"
            return GateResult(self.name, "warned", detail, figures, moment="after")
        detail = (
            f"at most {max(self._numbers):g} in {len(self._numbers)} answers, {self._settings.at_most:g} is allowed"
        )
        return GateResult(self.name, "passed", detail, figures, moment="after")

    @property
    def _said(self) -> str:
        last = " and ".join(f"{number:g}" for number in self._numbers[-_ENOUGH:])
        return f"Prometheus answers {last} to the query, at most {self._settings.at_most:g} is allowed"

    async def _ask(self) -> QueryResult:
        url, form = self._settings.url, {"query": self._settings.query, "timeout": f"{_TIMEOUT_SECONDS:g}s"}
        secure = url.startswith("https:")  # else no certificates are loaded, which takes 25 ms
        try:
            headers = await asyncio.to_thread(self._headers)
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS, verify=secure) as http:
                answer = await http.post(f"{url}/api/v1/query", data=form, headers=headers)
        except ConfigError as exc:
            return QueryResult(trouble=exc.message)
        except httpx.HTTPError as exc:
            return QueryResult(trouble=f"{url} does not answer: {str(exc) or type(exc).__name__}")
        return read(answer.status_code, answer.content)

    def _headers(self) -> Mapping[str, str]:
        if self._settings.token is None:
            return self._settings.headers
        token = read_token(self._settings.token, "watch.prometheus.token")
        return {**self._settings.headers, "Authorization": f"Bearer {token}"}


def read(status: int, content: bytes) -> QueryResult:
    """The number in an answer to `/api/v1/query`: exactly one finite sample."""
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    if status in _REFUSED:
        return QueryResult(trouble=f"it answers {status}: it needs a valid login: set token or headers")
    if not isinstance(said, dict):
        return QueryResult(trouble=f"the answer ({status}) is not from Prometheus")
    if said.get("status") != "success" or status != 200:
        what = f"{said.get('errorType', 'error')}: {said.get('error', '')}"[:_LONGEST_SAID]
        return QueryResult(trouble=f"the query fails ({status}): {what}".removesuffix(": "))
    data: Any = said.get("data")
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    try:
        return _sample(kind, result)
    except (TypeError, ValueError, LookupError):
        return QueryResult(trouble=f"the answer is not from Prometheus: a {kind}")


def _sample(kind: Any, result: Any) -> QueryResult:
    if kind == "scalar":
        return _number(result)
    if kind != "vector":
        return QueryResult(trouble=f"the query gives a {kind}, and must give one number")
    if not result:
        return QueryResult(trouble="the query gives nothing: no series matches it")
    if len(result) > 1:
        return QueryResult(
            trouble=f"the query gives {len(result)} series, and must give one: sum(...) makes one of them"
        )
    return _number(result[0]["value"])


def _number(pair: Any) -> QueryResult:
    number = float(pair[1])  # numbers come as text, also "NaN" and "+Inf"
    return (
        QueryResult(number)
        if math.isfinite(number)
        else QueryResult(trouble=f"the query gives {pair[1]}, which is not a number")
    )
