"""The verdict on a release that gets a growing share of the traffic beside the old one. Pure: the caller feeds it the counts of
both.

It is refused as soon as it is certain that it errs more often than the old one (an E value, see `evidence`), or that it is slower
(bounds of quantiles, see `latency`). A step in which it got too few requests is not judged. More answers with 4xx are only told:
those are the client's errors, and a model may rightly accept less.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deployd.judge.evidence import ENOUGH, Count, Evidence
from deployd.judge.latency import slower, typical, with_unanswered
from deployd.judge.traffic import Histogram, Traffic
from deployd.wording import counted

LEAST_REQUESTS = 60
"""The new release's requests in a step, from which on the step is judged: with none wrong, under 5 % go wrong."""

_ANY_TIME = 10**12


@dataclass(frozen=True, slots=True)
class Both:
    """The traffic of the new and the old release since the canary began, or in a part of it."""

    new: Traffic = field(default_factory=Traffic)
    old: Traffic = field(default_factory=Traffic)

    def minus(self, before: "Both") -> "Both":
        """The traffic since `before`."""
        return Both(self.new.minus(before.new), self.old.minus(before.old))


@dataclass(frozen=True, slots=True)
class StepEnd:
    """The result of a step of a canary."""

    percent: int
    seen: Both

    @property
    def judged(self) -> bool:
        """Whether the new release has answered enough requests for a verdict."""
        return self.seen.new.requests - self.seen.new.unanswered >= LEAST_REQUESTS

    def __str__(self) -> str:
        new, old = self.seen.new, self.seen.old
        return f"{self.percent} %: {_figures(new)} (old release: {_figures(old)})"


class CanaryJudge:
    """Judges one canary. Call `begin_step`, then `tick` every TICK_SECONDS, then `end_step`."""

    def __init__(self) -> None:
        self.steps: list[StepEnd] = []
        self._errors, self._refusals = Evidence(), Evidence()
        self._percent, self._began, self._settled = 0, Both(), Both()
        self._measured: list[tuple[float, Both]] = []  # of this step
        self._seen = Both()

    def begin_step(self, percent: int) -> None:
        """From now on `percent` of the requests are to go to the new release."""
        self._percent, self._began, self._settled, self._measured = percent, self._seen, self._seen, []
        self._errors.begin_step()
        self._refusals.begin_step()

    def tick(self, seen: Both) -> str | None:
        """Take the traffic since the canary began, without durations. The reason to refuse the new release, if there is one."""
        self._seen = Both(_with(seen.new, self._seen.new), _with(seen.old, self._seen.old))
        share, new, old = self._percent / 100, seen.new, seen.old
        self._errors.tick(share, Count(new.requests, new.bad), Count(old.requests, old.bad))
        self._refusals.tick(share, Count(new.requests, new.refused), Count(old.requests, old.refused))
        if self._errors.enough:
            return f"it errs more often than the old release: {_share(new)} against {_share(old)}"
        return None

    def measure(self, seen: Both, now: float, *, settling: bool) -> str | None:
        """Like `tick`, but with durations, about once a second, at `now`; `settling`: the step has just begun. The reason to
        refuse."""
        reason = self.tick(seen)
        self._seen = seen
        self._measured.append((now, seen))
        if settling:
            self._settled = seen
        if reason is not None:
            return reason
        found = slower(self._durations_of_new(now), self._durations_of_old(now))
        return f"it is slower: {found}" if found is not None else None

    def _durations_of_new(self, now: float) -> Histogram:
        """The new release's durations since the step has settled: a cold cache must not count as a slow model."""
        new = self._seen.new
        came = [(int((now - at) * 1e6), new.requests - seen.new.requests) for at, seen in self._measured if at < now]
        return with_unanswered(new.minus(self._settled.new).latencies, new.unanswered, came)

    def _durations_of_old(self, now: float) -> Histogram:
        """The old release's durations in this step. Those without an answer may still take any time."""
        old = self._seen.old
        came = [(_ANY_TIME, old.requests - seen.old.requests) for at, seen in self._measured if at < now]
        return with_unanswered(old.minus(self._began.old).latencies, old.unanswered, came[-1:])

    def end_step(self) -> StepEnd:
        """End the step, which gave no reason to refuse the new release."""
        self.steps.append(StepEnd(self._percent, self.seen_in_step))
        return self.steps[-1]

    @property
    def seen_in_step(self) -> Both:
        """The traffic in the present step."""
        return self._seen.minus(self._began)

    @property
    def refuses_more(self) -> bool:
        """Whether the new release certainly answers more often with 4xx."""
        return self._refusals.enough

    def progress(self) -> str:
        """How far the step has come, for a person."""
        return f"{self._percent} %: {_figures(self.seen_in_step.new)}"

    def figures(self) -> Mapping[str, Any]:
        """The measured figures, for the record."""
        new, old = self._seen.new, self._seen.old
        return {
            "percent": self._percent,
            "requests": new.requests,
            "errors": new.bad,
            "refused": new.refused,
            "old_requests": old.requests,
            "old_errors": old.bad,
            "old_refused": old.refused,
            "waiting": new.unanswered,
            "e_value": float(f"{self._errors.value:.4g}"),
            "e_limit": ENOUGH,
            **_durations("", new),
            **_durations("old_", old),
        }


def _with(now: Traffic, before: Traffic) -> Traffic:
    """`now`, which has no durations, with those that were read before."""
    return replace(now, latencies=before.latencies)


def _share(traffic: Traffic) -> str:
    return f"{traffic.bad:,} of {traffic.requests:,} requests"


def _figures(traffic: Traffic) -> str:
    p95 = typical(traffic.latencies, 0.95)
    slow = f", p95 {p95 / 1000:.3g} ms" if p95 is not None else ""
    many = traffic.unanswered * 10 > traffic.requests  # a few are always under way
    open_now = f", {traffic.unanswered:,} not answered yet" if many else ""
    return f"{counted(traffic.requests, 'request')}, {counted(traffic.bad, 'error')}{open_now}{slow}"


def _durations(prefix: str, traffic: Traffic) -> Mapping[str, float]:
    found = {name: typical(traffic.latencies, q) for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95))}
    return {f"{prefix}{name}": round(us / 1000, 2) for name, us in found.items() if us is not None}
