"""Makes the gates of each app, with the data that they read besides the candidate itself."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.gates.compare import CompareGate
from deployd.gates.evaluate import EvaluateGate
from deployd.gates.files import ImageReader
from deployd.gates.golden import GoldenGate
from deployd.gates.own import OwnGate
from deployd.gates.ready import ReadyGate
from deployd.goal import Head
from deployd.ports.gate import Gate
from deployd.ports.source import CommitFacts
from deployd.recorded import Recorded
from deployd.recording.recordings import Recordings
from deployd.source.source import GitSource
from deployd.store.store import Store


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The figures of the labelled rows that are recorded. Implements gates.evaluate.Recorded."""

    store: Store

    async def of(self, app: str, number: int) -> Mapping[str, Any] | None:
        """The figures of one deploy; None when there are none."""
        deploy = await self.store.deploy(app, number)
        return next(iter(_evaluated([deploy])), None) if deploy is not None else None

    async def before(self, app: str, number: int) -> Sequence[Mapping[str, Any]]:
        """The figures of the last fifty deploys before `number`, the newest first."""
        return _evaluated(await self.store.deploys(app, before=number))


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates of an app, in the order in which they are asked."""

    store: Store
    source: GitSource
    readers: Mapping[str, ImageReader]
    recordings: Recordings

    def __call__(self, app: App) -> Sequence[Gate]:
        """A gate for each table of the app's config."""
        read, found = self.readers.get(app.target), list[Gate]([ReadyGate()])
        if app.golden is not None:
            found.append(GoldenGate(read))
        if app.evaluate is not None:
            found.append(EvaluateGate(app, Evaluations(self.store), read))
        if app.compare is not None:
            found.append(CompareGate(self._facts, self._recorded, read))
        return [*found, *(OwnGate(gate) for gate in app.gate if gate.when == "before")]

    async def _recorded(self, app: str, count: int) -> Sequence[Recorded]:
        return await asyncio.to_thread(self.recordings.requests, app, count)

    async def _facts(self, app: App, deploy: Deploy) -> CommitFacts:
        return await self.source.facts(app, Head(deploy.ref, deploy.commit))


def _evaluated(deploys: Iterable[Deploy]) -> Sequence[Mapping[str, Any]]:
    return [gate.figures for deploy in deploys for gate in deploy.gates if gate.name == EvaluateGate.name]
