"""The gate for models: a candidate must give the recorded answers to recorded requests, in time.

The golden file is read from the commit, else from the image, where a build that trains a model writes it. `replay` asks one
release; whoever watches a release can ask it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployd.config.gates import Golden
from deployd.domain import GateResult
from deployd.errors import RolloutFailed
from deployd.gates import files
from deployd.gates.asking import Asker, Response, asking, refusal
from deployd.gates.files import ImageReader
from deployd.gates.golden_file import Document, Exchange, exchanges, parse, tensors_of, unused_rule
from deployd.gates.rules import Rule, Rules
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context

NAME = "golden"
_ROWS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Proof:
    """The requests and the rules for their answers: a golden file with the settings of the app's config."""

    asked: Sequence[Exchange]
    rules: Rules
    concurrency: int
    latency: float | None = None


class GoldenGate:
    """Sends the requests of `[app.golden]` to the candidate; for apps with that table."""

    name = NAME

    def __init__(self, read_image: ImageReader | None = None) -> None:
        self._read_image = read_image

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Passed with the number of answers and the slowest time; failed with the first cases that are wrong, slow or missing."""
        if (golden := candidate.app.golden) is None:
            return GateResult(self.name, "passed", "the app has no golden answers")
        try:
            content = await files.read(golden.file, "app.golden.file", candidate, context, self._read_image)
            result = await replay(proof(golden, parse(content, golden.file)), candidate.address, candidate.headers)
        except RolloutFailed as exc:
            return GateResult(self.name, "failed", f"{exc.message} ({exc.hint})" if exc.hint else exc.message)
        for row in result.rows:
            log.write(f"{told(row, result.figures['cases'])}\n")
        return result


def proof(golden: Golden, document: Document) -> Proof:
    """How the config has a golden file asked: the config takes precedence over the file. RolloutFailed when a rule is wrong."""
    given = golden.model_fields_set
    url = golden.url if "url" in given else document.url or golden.url
    tolerance = golden.tolerance
    if "tolerance" not in given and document.tolerance is not None:
        tolerance = document.tolerance
    own = {path: msgspec.convert(rule.model_dump(), Rule) for path, rule in golden.rules.items()}
    rules, asked = Rules(document.rules | own, tolerance), exchanges(document, url)
    if (unused := unused_rule(rules, asked)) is not None:
        hint = "correct its path, or remove the rule"
        raise RolloutFailed(f'the rule for "{unused}" matches nothing in any expected answer', hint=hint)
    if all(one.status is None and _is_empty(one.expected) for one in asked):
        hint = "an answer must have what its response has, and nothing more"
        raise RolloutFailed(f"{golden.file} proves nothing: all its responses are empty", hint=hint)
    return Proof(asked, rules, golden.concurrency, golden.latency)


async def replay(wanted: Proof, address: str, headers: Mapping[str, str]) -> GateResult:
    """Ask one release all cases, several at once, after one request that only warms it up."""
    async with asking(address, headers) as asker:
        first = wanted.asked[0]
        warm = await asker.ask(first)
        if not warm.status or (first.status is None and not warm.ok):
            return GateResult(NAME, "failed", f"the warm-up call: {refusal(first.url, warm)}")
        answers = await asker.ask_all(wanted.asked, wanted.concurrency)
        answers = await _asked_again(asker, wanted, answers)
    rows = [row for at, answer in enumerate(answers) if answer and (row := _row(wanted, at, answer))]
    return _result(wanted, answers, rows)


def told(row: Mapping[str, Any], count: int) -> str:
    """A row in a line of text: `case 2 of 12: $.y: 0, expected 0.5`."""
    name = f" ({row['name']})" if row.get("name") else ""
    return f"case {row['case']} of {count}{name}: {row['text']}"


async def _asked_again(asker: Asker, wanted: Proof, answers: list[Response | None]) -> list[Response | None]:
    """Cases that took too long beside others are asked once more, alone."""
    if wanted.latency is None:
        return answers
    for position, answer in enumerate(answers):
        if answer is not None and answer.status and answer.seconds > wanted.latency:
            answers[position] = await asker.ask(wanted.asked[position])
    return answers


def _is_empty(expected: Any) -> bool:
    """Whether any object satisfies it, as with {} and {"a": {}}."""
    return isinstance(expected, dict) and all(_is_empty(inner) for inner in expected.values())


def _row(wanted: Proof, position: int, answer: Response) -> dict[str, Any] | None:
    """The first fault of an answer; None when there is none."""
    case = wanted.asked[position]
    row: dict[str, Any] = {"case": position + 1} | ({"name": case.name} if case.name else {})
    right_status = answer.ok if case.status is None else answer.status == case.status
    if not right_status or answer.fault:
        said = refusal(case.url, answer) or f"{case.url} answers {answer.status}"
        return row | {"text": f"{said}, expected {case.status}" if case.status and answer.status else said}
    given = tensors_of(answer.value) if case.tensors else answer.value
    try:
        found = list(wanted.rules.differences(given, case.expected))
    except RecursionError:
        return row | {"text": "the answer is nested too deeply"}
    if found:
        more = {"more": len(found) - 1} if len(found) > 1 else {}
        return row | found[0].row() | more | {"text": str(found[0])}
    if wanted.latency is not None and answer.seconds > wanted.latency:
        took, limit = answer.seconds * 1000, wanted.latency * 1000
        return row | {"took_ms": round(took, 1), "text": f"took {took:.0f} ms, at most {limit:.0f} ms is allowed"}
    return None


def _result(wanted: Proof, answers: Sequence[Response | None], rows: list[dict[str, Any]]) -> GateResult:
    count = len(answers)
    slowest = max(answer.seconds for answer in answers if answer is not None) * 1000
    figures: dict[str, Any] = {"cases": count, "wrong": len(rows), "slowest_ms": round(slowest, 1)}
    if wanted.latency is not None:
        figures["latency_ms"] = wanted.latency * 1000
    if not rows:
        detail = f"{count} of {count} answers equal, slowest {slowest:.1f} ms"
        return GateResult(NAME, "passed", detail, figures)
    if unasked := sum(answer is None for answer in answers):
        figures["unasked"] = unasked
    more = f" ({len(rows) - 1} more of {count} are wrong)" if len(rows) > 1 else ""
    # Several are under way at once: which of them ended the service, nobody can say.
    lost = [str(at) for at, answer in enumerate(answers, start=1) if answer is not None and answer.lost]
    cases = f"; it stopped answering at case {' or '.join(lost)}" if lost else ""
    return GateResult(NAME, "failed", f"{told(rows[0], count)}{more}{cases}", figures, tuple(rows[:_ROWS_SHOWN]))
