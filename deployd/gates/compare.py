"""The gate that compares: the same requests to the live release and to the candidate.

It blocks when clearly more answers differ than `block` (the lower limit of Wilson's interval), unless the commit or a person says
that predictions are meant to change, and when the candidate is clearly slower. The live release is asked twice: what differs
between its own answers is not held against the candidate.
"""

import math
import re
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployd.config.app import App
from deployd.config.gates import Compare
from deployd.domain import Deploy, GateResult
from deployd.errors import RolloutFailed
from deployd.gates import files, golden_file
from deployd.gates.asking import Asker, Request, Response, asking, refusal
from deployd.gates.files import ImageReader
from deployd.gates.golden import proof
from deployd.gates.rules import Difference, Rule, Rules
from deployd.jsonpath import Step, shown
from deployd.judge.shares import at_least_so_many, wilson
from deployd.ports.gate import Candidate, Serving
from deployd.ports.log import Log
from deployd.ports.source import CommitFacts, Context
from deployd.recorded import Recorded, parse
from deployd.tasks import together

NAME = "compare"
_ROWS_SHOWN = 10
_AT_ONCE = 4
_FEWEST_TIMED = 20
_SURE = 1e-3
_MOST_UNANSWERED = 10
_FLOOR_SECONDS = 0.005  # a slowdown of so little is none
_TRAILER = re.compile(r"^Deployd-Expect:\s*new-predictions\s*$", re.IGNORECASE | re.MULTILINE)
# Fields that name the model in answers of model_service and of the Open Inference Protocol: each model has its own.
_NOT_COMPARED = ("$.model", "$.model_name", "$.model_version", "$.id")

Sampled = Callable[[str, int], Awaitable[Sequence[Recorded]]]
"""Gives at most that many of the recorded requests to an app, spread evenly over the hours."""

Facts = Callable[[App, Deploy], Awaitable[CommitFacts]]
"""The facts of a deploy's commit."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the part of its answer that counts (None: everything)."""

    request: Request
    counts: Any = None
    tensors: bool = False

    def read(self, answer: Response) -> Any:
        """The part of the answer that is compared."""
        return golden_file.tensors_of(answer.value) if self.tensors else answer.value


@dataclass(frozen=True, slots=True)
class Pair:
    """The answers of both to one request; `again` is the second one of the live release."""

    asked: Asked
    live: Response
    again: Response
    candidate: Response


class CompareGate:
    """Sends the requests of `[app.compare]` to both; for apps with that table."""

    name = NAME

    def __init__(self, facts: Facts, sampled: Sampled, read_image: ImageReader | None = None) -> None:
        self._facts = facts
        self._sampled = sampled
        self._read_image = read_image

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Failed or warned with the share of differing answers, the first of them, and the ratio of the times."""
        compare, live = candidate.app.compare, candidate.live
        if compare is None:
            return GateResult(NAME, "passed", "the app compares nothing")
        if candidate.deploy.rollback_to is not None or live is None:
            chosen = "a rollback is not compared: somebody has chosen this release"
            return GateResult(NAME, "not_judged", chosen if live else "nothing serves that it could be compared with")
        try:
            asked, rules = await self._asked(compare, candidate, context)
        except RolloutFailed as exc:
            return GateResult(NAME, "failed", f"{exc.message} ({exc.hint})" if exc.hint else exc.message)
        if not asked:
            return GateResult(NAME, "not_judged", "no requests of clients are recorded yet")
        pairs = await _pairs(asked, candidate, live)
        if (unused := _unused_rule(compare, pairs)) is not None:
            return GateResult(
                NAME, "failed", f'the rule for "{unused}" matches nothing in any answer of the live release'
            )
        found = _Comparison(compare, candidate.app, live, pairs, rules, len(asked))
        for row in found.rows:
            log.write(f"{row['text']}\n")
        result = found.result()
        return await self._accepted(candidate, result) if found.blocked and not found.slow else result

    async def _asked(
        self, compare: Compare, candidate: Candidate, context: Context | None
    ) -> tuple[list[Asked], Rules]:
        """The requests, spread evenly over those of the file when there are more than `most`."""
        own = {path: msgspec.convert(rule.model_dump(), Rule) for path, rule in compare.rules.items()}
        if compare.requests == "golden" and (golden := candidate.app.golden) is not None:
            content = await files.read(golden.file, "app.golden.file", candidate, context, self._read_image)
            wanted = proof(golden, golden_file.parse(content, golden.file))
            rules = wanted.rules.over(own, compare.tolerance)
            found = [Asked(one, one.expected, one.tensors) for one in wanted.asked]
        else:
            ignored = {path: Rule(ignore=True) for path in _NOT_COMPARED}
            rules = Rules(ignored | own, 1e-6 if compare.tolerance is None else compare.tolerance)
            found = [Asked(one) for one in await self._of_clients(compare, candidate, context)]
        step = max(1.0, len(found) / compare.most)
        return [found[int(at * step)] for at in range(min(len(found), compare.most))], rules

    async def _of_clients(self, compare: Compare, candidate: Candidate, context: Context | None) -> Sequence[Recorded]:
        """The requests of a file, or recorded ones."""
        if compare.requests == "recorded":
            return await self._sampled(candidate.app.name, compare.most)
        path = compare.requests.removeprefix("file:")
        return parse(await files.read(path, "app.compare.requests", candidate, context, self._read_image), path)

    async def _accepted(self, candidate: Candidate, refused: GateResult) -> GateResult:
        """The result, warned instead of failed where somebody meant the predictions to change."""
        if (who := await self._who_accepts(candidate)) is None:
            return refused
        figures = {**refused.figures, "accepted": who}
        return GateResult(NAME, "warned", f"{refused.detail}; accepted: {who}", figures, refused.rows)

    async def _who_accepts(self, candidate: Candidate) -> str | None:
        deploy = candidate.deploy
        if deploy.accept_changes:
            return f"{deploy.trigger.by or 'somebody'} deployed it with accept_changes"
        facts = await self._facts(candidate.app, deploy)
        trailer = "Deployd-Expect: new-predictions"
        return f"{facts.author}'s commit says {trailer}" if _TRAILER.search(facts.message) else None


class _Comparison:
    """The comparison of the pairs of answers. `count`: how many requests there are; further pairs only measure time."""

    def __init__(
        self, compare: Compare, app: App, live: Serving, pairs: Sequence[Pair], rules: Rules, count: int
    ) -> None:
        self._compare = compare
        self._live = f"{app.name}/{live.number}" if live.number else "what serves"
        judged = [(at, pair) for at, pair in enumerate(pairs[:count], start=1) if pair.live.status]
        self._count = len(judged)
        differing = [(at, found) for at, pair in judged if (found := _differences(pair, rules))]
        self._differing = len(differing)
        off = [one.off for _, found in differing for one in found if isinstance(one, Difference) and one.off]
        self._off = [one for one in off if math.isfinite(one)]
        private = compare.requests == "recorded"
        self.rows = tuple(_row(at, found, private=private) for at, found in differing[:_ROWS_SHOWN])
        self._times = [
            (pair.live.seconds, pair.candidate.seconds) for pair in pairs if pair.live.status and pair.candidate.status
        ]
        ratio = compare.max_latency_ratio
        slower = sum(mine > ratio * theirs + _FLOOR_SECONDS for theirs, mine in self._times)
        self.slow = len(self._times) >= _FEWEST_TIMED and at_least_so_many(slower, len(self._times)) < _SURE
        self.blocked = self._count > 0 and wilson(self._differing, self._count)[0] > compare.block

    def result(self) -> GateResult:
        """The verdict, with the figures."""
        if not self._count:
            return GateResult(NAME, "not_judged", f"{self._live} gave no answer to compare with")
        share = self._differing / self._count
        figures: dict[str, Any] = {"n": self._count, "differing": self._differing, "share": round(share, 4)}
        figures |= {"warn": self._compare.warn, "block": self._compare.block, "live": self._live}
        if self._off:
            figures |= {"largest_difference": max(self._off), "mean_difference": statistics.fmean(self._off)}
        said = f"{self._differing} of {self._count} answers differ from {self._live}"
        if self._off:
            said += f", numbers by up to {max(self._off):.4g}"
        if self._times:
            theirs, mine = (statistics.median(one) * 1000 for one in zip(*self._times, strict=True))
            ratio = statistics.median(one / max(other, 1e-6) for other, one in self._times)
            figures |= {
                "latency_ratio": round(ratio, 3),
                "median_ms": round(mine, 2),
                "live_median_ms": round(theirs, 2),
            }
            said += f"; {mine:.1f} ms each, {theirs:.1f} ms before"
        return GateResult(NAME, *self._verdict(said, share), figures, self.rows)

    def _verdict(self, said: str, share: float) -> tuple[Any, str]:
        if self.slow:
            return "failed", f"{said}: clearly more than {self._compare.max_latency_ratio:g} times as slow"
        first = f"; {self.rows[0]['text']}" if self.rows else ""
        if self.blocked:
            return "failed", f"{said}: clearly more than {self._compare.block:.0%}{first}"
        return ("warned" if share > self._compare.warn else "passed"), f"{said}{first}"


async def _pairs(asked: Sequence[Asked], candidate: Candidate, live: Serving) -> list[Pair]:
    """Ask both releases, alternating which is first; begin again where too few answers would be timed."""
    rounds = [*asked]
    while asked and len(rounds) < _FEWEST_TIMED:
        rounds += asked
    pairs: list[Pair | None] = [None] * len(rounds)
    positions = iter(range(len(rounds)))
    async with asking(live.address, candidate.headers) as old, asking(candidate.address, candidate.headers) as new:
        for asker in (old, new) if asked else ():
            await asker.ask(asked[0].request)

        unanswered = 0

        async def work() -> None:
            nonlocal unanswered
            for at in positions:
                pair = pairs[at] = await _pair(rounds[at], old, new, new_first=at % 2 == 1)
                unanswered += not (pair.live.status and pair.candidate.status)
                if unanswered >= _MOST_UNANSWERED:
                    return

        await together(*(work() for _ in range(min(_AT_ONCE, len(rounds)))))
    return [pair for pair in pairs if pair is not None]


async def _pair(asked: Asked, old: Asker, new: Asker, *, new_first: bool) -> Pair:
    if new_first:
        candidate, live = await new.ask(asked.request), await old.ask(asked.request)
    else:
        live, candidate = await old.ask(asked.request), await new.ask(asked.request)
    return Pair(asked, live, await old.ask(asked.request), candidate)


def _differences(pair: Pair, rules: Rules) -> list[Difference | str]:
    """The differences of the candidate's answer from the live release's, without values that also change between two answers of
    the live release."""
    live, candidate = pair.live, pair.candidate
    if live.status != candidate.status:
        said = refusal(pair.asked.request.url, candidate) or f"{pair.asked.request.url} answers {candidate.status}"
        return [f"{said}, {live.status} before"]
    if live.fault or candidate.fault:
        return [] if live.fault == candidate.fault or live.fault else [candidate.fault]
    try:
        before = pair.asked.read(live)
        noise = {one.path for one in rules.differences(pair.asked.read(pair.again), before)}
        found = rules.differences(pair.asked.read(candidate), before)
        return [one for one in found if one.path not in noise and _counts(pair.asked.counts, one.path)]
    except RecursionError:
        return ["the answer is nested too deeply"]


def _unused_rule(compare: Compare, pairs: Sequence[Pair]) -> str | None:
    """The path of a rule of `[app.compare]` that names nothing in what the live release answers."""
    answers = [pair.asked.read(pair.live) for pair in pairs if pair.live.ok]
    return Rules({path: Rule(ignore=True) for path in compare.rules}, 0.0).unused(answers) if answers else None


def _counts(wanted: Any, path: tuple[Step, ...]) -> bool:
    """Whether a golden case says anything about that path; everything counts without one."""
    for step in path if wanted is not None else ():
        if isinstance(wanted, dict) and step not in wanted:
            return False
        inside = isinstance(wanted, dict) or (isinstance(wanted, list) and isinstance(step, int) and step < len(wanted))
        if not inside:
            return True
        wanted = wanted[step]
    return True


def _row(at: int, found: Sequence[Difference | str], *, private: bool) -> Mapping[str, Any]:
    """The first difference of a request, without values of answers to the app's clients: these must not be recorded."""
    first = found[0]
    if private:
        where = shown(first.path) if isinstance(first, Difference) else "the answer"
        return {"request": at, "path": where, "text": f"request {at}: {where} is another"}
    more = {"more": len(found) - 1} if len(found) > 1 else {}
    parts = first.row() if isinstance(first, Difference) else {}
    return {"request": at, **parts, **more, "text": f"request {at}: {first}"}
