"""The gate for labelled rows: a candidate must be good enough on them, and not clearly worse than the live release.

Each row is sent without its label; scikit-learn's metrics are computed in a process of its own. Against the live release, a
drop beyond the margin alone only warns, since chance makes such drops; it refuses when a paired test on the same rows says so,
too (McNemar's for accuracy, else the bootstrap; p below 0.01, shared among the slices).
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from deployd.config.app import App
from deployd.config.gates import LOWER_IS_BETTER, Evaluate, Metric
from deployd.domain import GateResult
from deployd.errors import RolloutFailed
from deployd.gates import files, labelled
from deployd.gates.files import ImageReader
from deployd.gates.labelled import Labelled
from deployd.gates.predictions import Unpredicted, predictions
from deployd.gates.scoring import Scoring, scoring
from deployd.ports.gate import Candidate, Serving
from deployd.ports.log import Log
from deployd.ports.source import Context

NAME = "evaluate"
_SURE = 0.01
_FEWEST_ROWS = 30  # a slice with fewer is shown and not judged
_SLICE_MARGIN = 0.05
_ROWS_SHOWN = 10


class Recorded(Protocol):
    """The figures that this gate has recorded for the deploys of an app."""

    async def of(self, app: str, number: int) -> Mapping[str, Any] | None:
        """The figures of one deploy; None when there are none."""
        ...

    async def before(self, app: str, number: int) -> Sequence[Mapping[str, Any]]:
        """The figures of the last deploys before `number`, the newest first."""
        ...


class EvaluateGate:
    """Sends the rows of `[app.evaluate]`; for apps with that table. As an async context manager, its process gets ready during
    the build."""

    name = NAME

    def __init__(self, app: App, recorded: Recorded, read_image: ImageReader | None = None) -> None:
        self._evaluate = app.evaluate
        self._recorded = recorded
        self._read_image = read_image
        self._stack = AsyncExitStack()
        self._scoring: Scoring | None = None
        self._broken: RolloutFailed | None = None

    async def __aenter__(self) -> Self:
        if self._evaluate is not None:
            try:
                self._scoring = await self._stack.enter_async_context(scoring(self._evaluate.python))
            except RolloutFailed as exc:
                self._broken = exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        """Failed with every figure that is below its limit; warned where one is worse than the live release's, but not surely."""
        if (evaluate := self._evaluate) is None:
            return GateResult(NAME, "passed", "the app has no labelled rows")
        if candidate.deploy.rollback_to is not None:
            return GateResult(NAME, "not_judged", "a rollback is not evaluated: somebody has chosen this release")
        try:
            if self._scoring is None:
                raise self._broken or RuntimeError("the gate is not entered")
            content = await files.read(evaluate.data, "app.evaluate.data", candidate, context, self._read_image)
            judgement = _Judgement(
                evaluate, await asyncio.to_thread(labelled.read, content, evaluate), candidate, self._scoring
            )
            await judgement.measure()
            await judgement.compare(self._recorded)
            await judgement.count(self._recorded)
        except RolloutFailed as exc:
            detail = f"{exc.message} ({exc.hint})" if exc.hint else exc.message
            return GateResult(NAME, "failed", detail, rows=exc.rows if isinstance(exc, Unpredicted) else ())
        result = judgement.result()
        for name, of_slice in result.figures["slices"].items():
            log.write(f"{name}: {', '.join(f'{key} {_shown(value)}' for key, value in of_slice.items())}\n")
        return result


@dataclass
class _Judgement:
    """One evaluation: the figures and the verdict. `refusals` fail it, `doubts` warn."""

    evaluate: Evaluate
    data: Labelled
    candidate: Candidate
    scoring: Scoring
    figures: dict[str, Any] = field(default_factory=dict)
    slices: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    live_asked: bool = False
    judged: int = 1
    refusals: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    async def measure(self) -> None:
        """Ask the candidate all rows, and hold its figures against the limits."""
        start = {"expected": self.data.expected, "slices": self.data.slices, "numeric": self.evaluate.numeric}
        answers = await predictions(self.evaluate, self.data, self.candidate.address, self.candidate.headers)
        await self.scoring.ask({**start, "metrics": list(self.evaluate.metrics)})
        said = await self.scoring.ask({"answers": "candidate", **answers})
        self.figures, self.slices = said["figures"], said["slices"]
        for metric, limits in self.evaluate.metrics.items():
            self._hold(metric, self.figures[metric], limits.at_least, limits.at_most)
            for name in self._judged():
                where = f"{name}: "
                self._hold(metric, self.slices[name][metric], limits.slice_at_least, limits.slice_at_most, where)

    async def compare(self, recorded: Recorded) -> None:
        """Hold the figures against the live release's: recorded ones where they are of the same rows."""
        serving = self.candidate.live
        wanted = [metric for metric, limits in self.evaluate.metrics.items() if _compares(limits)]
        if not wanted:
            return
        if serving is None:
            self.doubts += [] if not self.evaluate.strict else ["nothing serves to compare with"]
            return
        before = await recorded.of(self.candidate.app.name, serving.number)
        same_rows = before is not None and before.get("data") == self.data.digest
        if before is not None and same_rows and not self.evaluate.strict and set(wanted) <= before.keys():
            self.live = dict(before)
        try:
            for metric in wanted:
                await self._compare(metric, self.evaluate.metrics[metric], serving)
        except Unpredicted as exc:
            self.doubts.append(f"{self._name(serving)} cannot be compared: {exc.message}")

    async def count(self, recorded: Recorded) -> None:
        """Count how often these rows were used so far: after many tries, a model can fit them by chance."""
        earlier = await recorded.before(self.candidate.app.name, self.candidate.deploy.number)
        same = next((one for one in earlier if one.get("data") == self.data.digest), None)
        self.judged = 1 + int(same.get("judged", 1)) if same is not None else 1

    def result(self) -> GateResult:
        """The verdict, with all figures."""
        n = len(self.data.rows)
        counted = {name: {"n": len(self.data.slices[name])} | values for name, values in self.slices.items()}
        figures = {"n": n, **self.figures, "data": self.data.digest, "judged": self.judged, "slices": counted}
        if self.live:
            figures["live"] = {metric: self.live.get(metric) for metric in self.evaluate.metrics}
        limits = self.evaluate.model_dump(mode="json", include={"metrics"}, exclude_none=True)["metrics"]
        figures["limits"] = {metric: values for metric, values in limits.items() if values}
        said = ", ".join(f"{metric} {_shown(value)}" for metric, value in self.figures.items())
        whole = f"{said} on {n} rows"
        if self.refusals:
            # What is wrong with all rows is wrong with slices, too.
            of_all = [text for text in self.refusals if not text.startswith(tuple(f"{name}: " for name in self.slices))]
            said = "; ".join(of_all or self.refusals)
            return GateResult(NAME, "failed", said, figures, tuple(self.rows))
        if self.doubts:
            return GateResult(NAME, "warned", "; ".join([whole, *self.doubts]), figures, tuple(self.rows))
        return GateResult(NAME, "passed", whole, figures)

    def _judged(self) -> list[str]:
        return [name for name, rows in self.data.slices.items() if len(rows) >= _FEWEST_ROWS]

    def _hold(self, metric: str, value: float | None, least: float | None, most: float | None, where: str = "") -> None:
        if value is None:
            self.refusals += [] if where else [f"{metric} is not defined on these rows"]
            return
        n = "" if where else f" on {len(self.data.rows)} rows"
        if least is not None and value < least:
            self.refusals.append(f"{where}{metric} {_shown(value)}{n} is below {least:g}")
        if most is not None and value > most:
            self.refusals.append(f"{where}{metric} {_shown(value)}{n} is above {most:g}")

    async def _compare(self, metric: str, limits: Metric, serving: Serving) -> None:
        if not self.live:
            await self._ask_live(serving)
        if limits.not_worse_than_live is not None:
            await self._worse(metric, limits.not_worse_than_live, serving, None, _SURE)
        margin = limits.slice_not_worse_than_live
        if margin is None and limits.not_worse_than_live is not None:
            margin = max(_SLICE_MARGIN, limits.not_worse_than_live)
        for name in self._judged() if margin is not None else ():
            await self._worse(metric, float(margin or 0.0), serving, name, _SURE / len(self._judged()))

    async def _worse(self, metric: str, margin: float, serving: Serving, name: str | None, sure: float) -> None:
        """Refuse when the candidate is worse by more than the margin and the paired test agrees; else warn. With `strict`, refuse
        unless the test says that it is not."""
        mine, theirs = self._figure(metric, name)
        if mine is None or theirs is None:
            return
        drop = (mine - theirs) if metric in LOWER_IS_BETTER else (theirs - mine)
        allowed = margin * abs(theirs) if metric in LOWER_IS_BETTER else margin
        strict = self.evaluate.strict and name is None
        if drop <= allowed and not strict:
            return
        if not self.live_asked:
            await self._ask_live(serving)
        rows = None if name is None else self.data.slices[name]
        found = await self.scoring.ask({"worse": metric, "rows": rows, "strict": strict})
        where = "" if name is None else f"{name}: "
        n = len(self.data.rows) if rows is None else len(rows)
        said = f"{where}{metric} {_shown(mine)} is worse than {_shown(theirs)} of {self._name(serving)}"
        facts = f"{n} rows, at most {_shown(allowed)} worse is allowed, p {found['p']:.2g}"
        if drop > allowed and found["p"] < sure:
            self.refusals.append(f"{said} ({facts})")
            self._add_rows(found["lost"])
        elif strict and found["limit"] >= allowed:
            limit = f"{metric} may be {_shown(found['limit'])} worse than that of {self._name(serving)}"
            self.refusals.append(f"{limit} ({n} rows, strict: less than {_shown(allowed)} must be sure)")
        elif drop > allowed:
            self.doubts.append(f"{said}, which may be chance ({facts})")

    def _figure(self, metric: str, name: str | None) -> tuple[float | None, float | None]:
        if name is None:
            return self.figures[metric], self.live.get(metric)
        return self.slices[name][metric], self.live.get("slices", {}).get(name, {}).get(metric)

    async def _ask_live(self, serving: Serving) -> None:
        answers = await predictions(self.evaluate, self.data, serving.address, self.candidate.headers)
        said = await self.scoring.ask({"answers": "live", **answers})
        self.live, self.live_asked = {**said["figures"], "slices": said["slices"]}, True

    def _add_rows(self, lost: list[int]) -> None:
        """The numbers of rows that only the live release answers right; nothing of what is in them, which may be private."""
        known = {row["row"] for row in self.rows}
        rows = [{"row": at + 1, "text": f"row {at + 1}: wrong, and right before"} for at in lost if at + 1 not in known]
        self.rows = (self.rows + rows)[:_ROWS_SHOWN]

    def _name(self, serving: Serving) -> str:
        return f"{self.candidate.app.name}/{serving.number}" if serving.number else "what serves"


def _compares(limits: Metric) -> bool:
    return limits.not_worse_than_live is not None or limits.slice_not_worse_than_live is not None


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"
