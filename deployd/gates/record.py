"""Makes a golden file from a service that runs: its answers to given requests. Each is asked twice, and the two must be equal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deployd.config.gates import Golden
from deployd.domain import GateResult
from deployd.errors import DeploydError, RolloutFailed
from deployd.gates.asking import asking, refusal
from deployd.gates.golden import proof, replay
from deployd.gates.golden_file import Exchange, exchanges, parse, tensors_of
from deployd.gates.rules import Rule, Rules

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """A recording to make: the route, the requests, and the paths of the answers that are not compared."""

    url: str
    method: str = "POST"
    ignore: tuple[str, ...] = ()
    tolerance: float = 1e-6


def split(url: str) -> tuple[str, str]:
    """The base of a URL and its route with the query, which is empty where it has none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise DeploydError(f"{url} is not a URL", hint="give one such as http://127.0.0.1:8000/predict")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", "" if parts.path in {"", "/"} and not query else f"{parts.path}{query}"


def requests_of(content: bytes, name: str, method: str, route: str) -> Sequence[Exchange]:
    """The requests to send: those of a golden file, or a request body on each line."""
    try:
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        lines = []  # one document over several lines
    if not lines or (len(lines) == 1 and isinstance(lines[0], dict) and "cases" in lines[0]):
        try:
            return exchanges(parse(content, name), route or "/predict")
        except RolloutFailed as exc:
            hint = "expected a request body in JSON on each line, or a golden file"
            raise DeploydError(exc.message, hint=hint) from exc
    return [Exchange("", method, route or "/predict", body, None) for body in lines]


async def record(wish: Wish, asked: Sequence[Exchange]) -> dict[str, Any]:
    """The golden file. DeploydError when a request is refused, or when an answer is not the same the second time."""
    address, route = split(wish.url)
    try:
        rules = Rules({path: Rule(ignore=True) for path in wish.ignore}, wish.tolerance)
    except ValueError as exc:
        raise DeploydError(str(exc)) from exc
    cases = []
    async with asking(address, {}) as asker:
        first, second = await asker.ask_all(asked, _AT_ONCE), await asker.ask_all(asked, _AT_ONCE)
    for number, (case, one, two) in enumerate(zip(asked, first, second, strict=True), start=1):
        if one is None or two is None or (why := refusal(case.url, one) or refusal(case.url, two)):
            said = why if one and two else "not asked: a request before it failed"
            raise DeploydError(f"request {number} of {len(asked)}: {said}")
        if (changed := next(rules.differences(two.value, one.value), None)) is not None:
            hint = "leave out what changes from answer to answer, such as with --ignore '$.id'"
            raise DeploydError(
                f"request {number} of {len(asked)} is answered differently the second time: {changed}", hint=hint
            )
        cases.append(_case(case, one.value, route or "/predict"))
    if (unused := rules.unused([one.value for one in first if one is not None])) is not None:
        raise DeploydError(f"no answer has {unused}", hint="correct --ignore")
    document: dict[str, Any] = {"url": route or "/predict", "method": wish.method, "tolerance": wish.tolerance}
    if wish.ignore:
        document["rules"] = {path: {"ignore": True} for path in wish.ignore}
    return {**document, "cases": cases}


def _case(case: Exchange, answer: Any, route: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": case.name} if case.name else {}
    found |= {"url": case.url} if case.url != route else {}
    response = {"outputs": answer["outputs"]} if case.tensors and tensors_of(answer) is not answer else answer
    return found | {"request": case.body, "response": response}


async def tried(content: bytes, name: str, url: str) -> GateResult:
    """The gate's verdict on the service at `url`; a route in it takes precedence over the file's."""
    address, route = split(url)
    given = {"file": "golden.json"} | ({"url": route} if route else {})
    return await replay(proof(Golden.model_validate(given), parse(content, name)), address, {})
