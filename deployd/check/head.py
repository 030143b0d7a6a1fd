"""The part of `deployd check` about the repository of an app: its head can be fetched, and what the first look would decide."""

import tempfile
from pathlib import Path

from deployd.check.finding import Finding
from deployd.check.repository import example, is_example
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.config.urls import public_urls
from deployd.errors import DeploydError, RequestRefused
from deployd.goal import Head, Known, Skip
from deployd.order.decide import head_of, why_no_head
from deployd.order.reading import read_and_decide
from deployd.ports.source import Source
from deployd.source.source import GitSource


async def head_found(config: Config, app: App) -> list[Finding]:
    """The app's head on its remote, and what the first look would decide on it."""
    what = f"app {app.name}"
    if is_example(app):
        return [example(app)]
    with tempfile.TemporaryDirectory(prefix="deployd-check-") as scratch:
        try:
            async with GitSource(config.git, Path(scratch)) as source:
                refs = await source.heads(app)
                if (head := head_of(app, refs)) is None:
                    hint = "push it, or change the app's branch or tag"
                    return [Finding(what, "wrong", f"{app.repo}: {why_no_head(app, refs)}", hint)]
                return [await _first_look(config, app, head, source)]
        except RequestRefused as exc:
            return [Finding(what, "wrong", exc.message, exc.hint)]
        except DeploydError as exc:
            return [Finding.fault(what, exc)]


async def _first_look(config: Config, app: App, head: Head, source: Source) -> Finding:
    """The decision that the first look at the repository would make, which fetches the commit."""
    decision = await read_and_decide(app, head, Known(), source, _green)
    at = f"{head.ref} of {app.repo} is at {head.commit[:12]}"
    if isinstance(decision, Skip):
        hint = f"push a commit without it, or deploy this one yourself: deployd deploy {app.name}"
        return Finding(f"app {app.name}", "warning", f"{at}: the first look would skip it: {decision.reason}", hint)
    where = ", ".join(public_urls(config, app)) or app.target
    return Finding(f"app {app.name}", "ok", f"{at}: it would serve on {where}")


async def _green(_app: App, _head: Head) -> None:
    """The checks of a commit may still run: whether they can be asked for is told beside this."""
