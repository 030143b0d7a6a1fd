"""What a deploy would do, without doing it: for a person who wants to know before they ask for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from deployd.config.app import App
from deployd.domain import AppState, Deploy, Head, Image, Known
from deployd.order.decide import decide, head_of, needs_diff, why_no_head
from deployd.pipeline import Pipeline
from deployd.ports.source import Source
from deployd.store.store import Store


@dataclass(frozen=True, slots=True)
class Plan:
    """`head` is the commit that the watched ref has now, `known` the last deploy of the planned commit, `image` what was
    built of it before; `steps` says in words what would happen."""

    commit: str
    head: str | None
    known: Deploy | None
    image: Image | None
    steps: tuple[str, ...]


async def plan(app: App, name: str, source: Source, store: Store, pipeline: Pipeline) -> Plan:
    """What deploying `name` (a branch, tag or SHA) to `app` would do. Raises RequestRefused 404, Unavailable."""
    commit = await source.resolve(app, name)
    refs = await source.heads(app)
    head = head_of(app, refs)
    image = await pipeline.built(app, commit)
    known = await store.latest_of(app.name, commit)
    state = await store.state(app.name)
    ref = next((ref for ref, one in refs.items() if one == commit), app.ref)
    remembered = (await store.known([app.name]))[app.name]
    steps = (await _decision(app, Head(ref, commit), remembered, source), *_steps(app, commit, image, state))
    return Plan(commit, head.commit if head else None, known, image, steps)


async def _decision(app: App, head: Head, known: Known, source: Source) -> str:
    """What a look would decide if the commit were the head now; a deploy by hand does not ask."""
    if head_of(app, {head.ref: head.commit}) is None:
        return f"it is never a head: {why_no_head(app, {head.ref: head.commit})}"
    facts = await source.facts(app, head)
    changed = None
    if known.wanted is not None and needs_diff(app):
        changed = await source.changed(app, known.wanted, head.commit)
    skip = decide(app, head, known.wanted_ref, facts.message, changed)
    return f"as a head it would be skipped: {skip.reason}" if skip else "as a head it would be deployed"


def _steps(app: App, commit: str, image: Image | None, state: AppState) -> Iterator[str]:
    if state.paused:
        yield f"wait: {app.name} is paused"
    if state.in_flight is not None and state.in_flight.prove:
        yield f"let {state.in_flight.name} wait, which only proves its commit"
    elif state.in_flight is not None:
        yield f"supersede {state.in_flight.name}, which is {state.in_flight.status.value.replace('_', ' ')}"
    yield f"fetch {commit[:12]} from {app.repo}"
    yield f"use the image built before, {image.reference}" if image else f"build {app.build.dockerfile}"
    yield f"start a candidate on {app.target} beside what serves" if _is_gentle(app) else "stop what serves, then start"
    yield f"wait up to {app.ready.within:g} s for {app.ready.path}"
    if app.golden is not None:
        yield f"ask the golden predictions of {app.golden.file}"
    if app.evaluate is not None:
        yield f"evaluate it on {app.evaluate.data}: {', '.join(app.evaluate.metrics)}"
    if app.compare is not None:
        yield f"compare its answers with those of what serves ({app.compare.requests})"
    yield from (f"ask your gate {gate.name}" for gate in app.gate if gate.when == "before")
    live = state.live
    yield "serve it: nothing is live yet" if live is None else f"switch from {live.name} ({live.commit[:12]}) to it"


def _is_gentle(app: App) -> bool:
    return app.target != "docker" or app.docker.start == "first"
