"""The looks at one repository, and the decisions on the heads that they show."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from typing import Literal, NamedTuple

from msgspec import structs

from deployd.backoff import Backoff
from deployd.config.app import App
from deployd.delivery import Owed
from deployd.domain import Deploy
from deployd.errors import DeploydError, Unavailable
from deployd.goal import Head, Known, ModelVersion, Skip, Trigger, Wait, Wanted
from deployd.order.checks import WaitingHeads
from deployd.order.decide import head_of, last_known, only_the_model_moved, why_no_head
from deployd.order.reading import read_and_decide
from deployd.ports.checks import Checks
from deployd.ports.models import Models
from deployd.ports.source import Source
from deployd.store.store import Store
from deployd.tasks import raise_if_cancelled, together, uninterrupted

logger = logging.getLogger(__name__)

_JITTER = 0.1
_APART_S = 0.2  # a flood of deliveries is no reason to flood the remote
# After so many failures in a row a remote is asked no more often than the poll does, unless a delivery owes it a look.
_OFTEN = 10


Away = Literal["remote", "registry"]


class Trouble(NamedTuple):
    """Why the last looks for an app failed, and since when. `what`: its remote, or only the registry of its model."""

    since: datetime
    reason: str
    what: Away = "remote"


class _Shown(NamedTuple):
    """The version that an alias points to. With a `fault`, it is the last one seen, if any."""

    version: ModelVersion | None = None
    fault: DeploydError | None = None


class Repository:
    """The looks at one repository, one after the other."""

    def __init__(
        self,
        store: Store,
        source: Source,
        submit: Callable[[Deploy], None],
        waits: Sequence[float],
        checks: Checks | None,
        models: Models | None,
    ) -> None:
        self.apps: list[App] = []
        self.every = 0.0
        self.troubles: dict[str, Trouble] = {}
        self._models = models
        self.waiting = WaitingHeads(checks)
        self._store = store
        self._source = source
        self._submit = submit
        self._waits = waits
        self._asked = asyncio.Event()
        self._owed = False
        self._failed: dict[str, DeploydError] = {}  # by app: what the last look could not decide
        self._of_registry: set[str] = set()  # of these apps those whose registry did not answer
        self._backoff = Backoff()
        self._without_head: dict[str, str] = {}  # by app: why it has none
        self._absent: dict[
            str, tuple[str, Owed]
        ] = {}  # by app: a head, and an owed delivery whose commit it does not contain

    def ask(self) -> None:
        """Ask for a look: something may have changed."""
        self._asked.set()

    async def serve(self) -> None:
        """Look, then wait for a request or for the next poll."""
        waits: list[float] = []
        while True:
            if self._asked.is_set():
                waits = list(self._waits)
            self._asked.clear()
            began = time.monotonic()
            pause = await self._try(waits)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            await asyncio.sleep(began + _APART_S - time.monotonic())

    async def _try(self, waits: list[float]) -> float | None:
        """Look once; returns the seconds until the next look, None to wait for a request.

        `waits` are the remaining waits for a commit that the remote does not show yet.
        """
        try:
            late = await self.look(final=not waits)
        except DeploydError as exc:
            raise_if_cancelled()
            self._see(self._failed or {app.name: exc for app in self.apps})
            pause = self._backoff.fail()
            if self._backoff.failures > _OFTEN and not self._owed:
                pause = max(pause, self.every)
            level = logging.WARNING if isinstance(exc, Unavailable) else logging.ERROR
            what = ", ".join(self._failed) or self.apps[0].repo
            hint = f" ({exc.hint})" if exc.hint else ""
            logger.log(level, "Cannot look at %s: %s%s; trying again in %.0f s", what, exc, hint, pause)
            return pause
        self._see({})
        self._backoff.reset()
        if late:
            return waits.pop(0)
        spread = self.every * _JITTER  # so that many daemons do not ask at once
        poll = self.every + random.uniform(-spread, spread) if self.every else None  # noqa: S311 - no secret
        return min((one for one in (poll, self.waiting.pause) if one is not None), default=None)

    def _see(self, failed: Mapping[str, DeploydError]) -> None:
        """Record for each app whether and why it cannot be looked at, and publish changes of that."""
        before, now = self.troubles, datetime.now(UTC)
        self.troubles = {}
        for app, exc in failed.items():
            what: Away = "registry" if app in self._of_registry else "remote"
            known = before.get(app)
            since = known.since if known is not None and known.what == what else now
            self.troubles[app] = Trouble(since, exc.message, what)
        for one in self.apps:
            if (trouble := self.troubles.get(one.name)) != before.get(one.name):
                self._store.tell_of_trouble(one.name, trouble.reason if trouble is not None else "")

    async def look(self, *, final: bool) -> bool:
        """Ask the remote for its heads, and the registries for their versions, and decide on the new ones.

        Returns True when the remote does not show the commit of a delivery yet and this was not the `final` look for it. If the
        decision for one app fails, the other apps still get theirs, then the error is raised.
        """
        self._failed.clear()
        self._of_registry.clear()
        apps = list(self.apps)
        known = await self._store.known(app.name for app in apps)
        self._owed = any(one.owed for one in known.values())
        refs = await together(*(self._source.heads(app) for app in apps))
        shown = await together(*(self._version(app, known[app.name]) for app in apps))
        late = False
        for app, found, version in zip(apps, refs, shown, strict=True):
            try:
                late |= await self._look_for(app, found, version, known[app.name], final=final)
            except DeploydError as exc:
                raise_if_cancelled()
                self._failed[app.name] = exc
                if exc is version.fault:
                    self._of_registry.add(app.name)
        if self._failed:
            raise next(reversed(self._failed.values()))
        return late

    async def _version(self, app: App, known: Known) -> _Shown:
        """The version of its registered model that the app follows."""
        if app.model is None:
            return _Shown()
        assert self._models is not None  # noqa: S101 - see Looks
        try:
            return _Shown(await self._models.present(app))
        except DeploydError as exc:
            raise_if_cancelled()
            last = last_known(app, known)
            if last is not None:
                exc = Unavailable(f"{exc.message}; a push is deployed with {last}, which was seen last", hint=exc.hint)
            return _Shown(last, exc)

    async def _look_for(self, app: App, refs: Mapping[str, str], shown: _Shown, known: Known, *, final: bool) -> bool:
        if shown.fault is None:
            return await self._decide_for(app, refs, shown, known, final=final)
        if shown.version is not None:  # the deliveries of the registry are not answered, nor what came after them
            of_git = tuple(takewhile(lambda one: not one.of_model, known.owed))
            await self._decide_for(app, refs, shown, structs.replace(known, owed=of_git), final=final)
        raise shown.fault

    async def _decide_for(self, app: App, refs: Mapping[str, str], shown: _Shown, known: Known, *, final: bool) -> bool:
        head = head_of(app, refs)
        if head is not None:
            head = structs.replace(head, registered=shown.version)
        self._tell_of_no_head(app, "" if head is not None else why_no_head(app, refs))
        upto = known.owed[-1].id if known.owed else None
        decision = await self._weigh(app, head, known) if head is not None else None
        if head is not None and decision is not None:
            all_shown = all(one.of_model or one.commit == head.commit for one in known.owed)
            decided = await self._carry_out(app, head, decision, known, upto if all_shown else None)
            if all_shown or not decided:
                return False
        else:
            self.waiting.over(app.name)
        absent = await self._first_absent(app, head, refs, known)
        if absent is not None and not final:
            return True
        if head is None and (known.owed or known.decided is not None):
            await self._store.answer(app.name, None, upto, f"{why_no_head(app, refs)}; the live release stays")
        elif known.owed:
            reason = f"the remote did not show {absent.commit[:12]}" if absent is not None else ""
            await self._store.answer(app.name, head, upto, reason)
        self._absent.pop(app.name, None)
        return False

    def _tell_of_no_head(self, app: App, reason: str) -> None:
        """Log once why an app has no head."""
        if reason and self._without_head.get(app.name) != reason:
            logger.warning("%s has nothing to deploy: %s", app.name, reason)
        self._without_head[app.name] = reason

    async def _weigh(self, app: App, head: Head, known: Known) -> Head | Skip | Wait | None:
        """Decide on a head, and remember whether it waits."""
        decision = await read_and_decide(app, head, known, self._source, self.waiting.ask)
        if isinstance(decision, Wait):
            self.waiting.keep(app, head, decision.reason)
        else:
            self.waiting.over(app.name)
        return decision

    async def _carry_out(
        self, app: App, head: Head, decision: Head | Skip | Wait, known: Known, upto: int | None
    ) -> bool:
        """Deploy the head or skip it; False when its commit waits for its checks, so that this is still to be decided.

        A reload may cancel this, but a deploy that was queued is always passed to its lane.
        """
        waiting = isinstance(decision, Wait)
        wanted = decision if isinstance(decision, Head) else decision.instead
        if wanted is not None:
            facts = await self._source.facts(app, wanted)
            verdict = _wanted(app, wanted, known, facts.subject, facts.author)
            # What waits stays undecided.
            decided, answered = (wanted, None) if waiting else (head, upto)
            await uninterrupted(self._record(app, decided, verdict, answered))
        elif isinstance(decision, Skip):
            await uninterrupted(self._record(app, head, decision, upto))
            logger.info("%s skips %s of %s: %s", app.name, head.commit[:12], head.ref, decision.reason)
        else:
            await self._store.answer(app.name, head, None)  # an event, for those who watch
        return not waiting

    async def _record(self, app: App, head: Head, verdict: Wanted | Skip, upto: int | None) -> None:
        deploy = await self._store.decide(app.name, head, verdict, upto)
        if deploy is not None:
            self._submit(deploy)

    async def _first_absent(self, app: App, head: Head | None, refs: Mapping[str, str], known: Known) -> Owed | None:
        """An owed delivery that names a commit which the remote does not show: neither at a ref nor as an ancestor of the head.

        While one is absent and the head stays, nothing is asked again: a flood of such deliveries costs one question.
        """
        commit = head.commit if head is not None else ""
        before, absent = self._absent.get(app.name, ("", None))
        if absent is not None and before == commit and absent.commit not in refs.values():
            return absent
        for one in known.owed:
            if one.names_no_commit or one.commit in refs.values():
                continue
            if head is None or not await self._source.contains(app, head, one.commit):
                self._absent[app.name] = (commit, one)
                return one
        return None


def _wanted(app: App, head: Head, known: Known, subject: str, author: str) -> Wanted:
    trigger = _trigger(head, known)
    return Wanted(
        app=app.name,
        commit=head.commit,
        ref=head.ref,
        trigger=trigger,
        subject=subject,
        author=author,
        target=app.target,
        registered=head.registered,
    )


def _trigger(head: Head, known: Known) -> Trigger:
    if only_the_model_moved(head, known):
        told = [one for one in known.owed if one.of_model]
        return Trigger("model", delivery=told[-1].guid if told else None)
    owed = [one for one in known.owed if not one.of_model]
    named = [one for one in owed if one.commit == head.commit]
    return Trigger("push", delivery=(named or owed)[-1].guid) if owed else Trigger("poll")
