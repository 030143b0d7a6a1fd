"""A preview of a deploy, for a person who wants to know before they ask for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from deployd.config.app import App
from deployd.domain import AppState, Deploy, Image
from deployd.goal import Goal, Head, Known, ModelVersion, Wait
from deployd.order.decide import head_of, why_no_head
from deployd.order.reading import Ask, read_and_decide
from deployd.pipeline import Pipeline
from deployd.ports.source import Source
from deployd.store.store import Store


@dataclass(frozen=True, slots=True)
class Plan:
    """`head` is the commit that the watched ref has now, `registered` the version that the alias points to, `known` the last
    deploy of the planned commit, `image` what was built of both before; `steps` says in words what would happen."""

    commit: str
    head: str | None
    known: Deploy | None
    image: Image | None
    steps: tuple[str, ...]
    registered: ModelVersion | None = None


async def plan(
    app: App, name: str, registered: ModelVersion | None, source: Source, store: Store, pipeline: Pipeline, ask: Ask
) -> Plan:
    """A preview of deploying `name` (a branch, tag or SHA) with that version of its model to `app`. `ask` asks for the checks of
    its commit. Raises RequestRefused 404, Unavailable."""
    commit = await source.resolve(app, name)
    refs = await source.heads(app)
    head = head_of(app, refs)
    image = await pipeline.built(app, Goal(commit, registered))
    known = await store.latest_of(app.name, commit)
    state = await store.state(app.name)
    ref = next((ref for ref, one in refs.items() if one == commit), app.ref)
    remembered = (await store.known([app.name]))[app.name]
    planned = Head(ref, commit, registered)
    subject = "it is the head, and" if head is not None and head.commit == commit else "if it were the head, it"
    steps = (await _decision(app, planned, remembered, source, ask, subject), *_steps(app, planned, image, state))
    return Plan(commit, head.commit if head else None, known, image, steps, registered)


async def _decision(app: App, head: Head, known: Known, source: Source, ask: Ask, subject: str) -> str:
    """The decision of a look that finds this head; a deploy by hand ignores it."""
    if head_of(app, {head.ref: head.commit}) is None:
        return f"it cannot become the head: {why_no_head(app, {head.ref: head.commit})}"
    if known.decided != known.wanted:  # what was skipped is asked about anew, for the reason
        known = structs.replace(known, decided=None)
    decision = await read_and_decide(app, head, known, source, ask)
    if decision is None:
        return f"{subject} would change nothing: it was wanted last"
    if isinstance(decision, Head):
        return f"{subject} would be deployed"
    before = decision.instead
    rest = "" if before is None else f"; {before.commit[:12]} would be deployed with {before.registered}"
    what = "wait for its checks" if isinstance(decision, Wait) else "be skipped"
    return f"{subject} would {what}: {decision.reason}{rest}"


def _steps(app: App, planned: Head, image: Image | None, state: AppState) -> Iterator[str]:
    if state.paused:
        yield f"wait: {app.name} is paused"
    if state.in_flight is not None and state.in_flight.prove:
        yield f"let {state.in_flight.name} wait, which only proves its commit"
    elif state.in_flight is not None:
        yield f"supersede {state.in_flight.name}, which is {state.in_flight.status.value.replace('_', ' ')}"
    yield from _fetches(app, planned)
    yield f"use the image built before, {image.reference}" if image else f"build {app.build.dockerfile}"
    yield from _proofs(app)
    yield _switch(state.live)


def _fetches(app: App, planned: Head) -> Iterator[str]:
    yield f"fetch {planned.commit[:12]} from {app.repo}"
    if app.model is not None and planned.registered is not None:
        yield f"put {planned.registered} of {app.model.registry} into {app.model.into}/"


def _proofs(app: App) -> Iterator[str]:
    yield f"start a candidate on {app.target} beside what serves" if _is_gentle(app) else "stop what serves, then start"
    yield f"wait up to {app.ready.within:g} s for {app.ready.path}"
    if app.golden is not None:
        yield f"ask the golden predictions of {app.golden.file}"
    if app.evaluate is not None:
        yield f"evaluate it on {app.evaluate.data}: {', '.join(app.evaluate.metrics)}"
    if app.compare is not None:
        yield f"compare its answers with those of what serves ({app.compare.requests})"
    yield from (f"ask your gate {gate.name}" for gate in app.gate if gate.when == "before")


def _switch(live: Deploy | None) -> str:
    if live is None:
        return "serve it: nothing is live yet"
    before = f"{live.commit[:12]} with {live.registered}" if live.registered is not None else live.commit[:12]
    return f"switch from {live.name} ({before}) to it"


def _is_gentle(app: App) -> bool:
    return app.target != "docker" or app.docker.start == "first"
