"""The present heads of remotes and model versions, read when a person asks for a deploy or a plan."""

import logging
from dataclasses import dataclass

from deployd.config.app import App
from deployd.errors import DeploydError, RequestRefused
from deployd.goal import Head, ModelVersion
from deployd.order.decide import head_of, last_known, why_no_head
from deployd.ports.models import Models
from deployd.ports.source import Source
from deployd.store.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Present:
    """Asks remotes and registries on request, independently of the looks."""

    source: Source
    store: Store
    models: Models | None

    async def head(self, app: App) -> Head:
        """The head of what the app follows. RequestRefused 409 when there is none."""
        refs = await self.source.heads(app)
        if (head := head_of(app, refs)) is None:
            hint = "push it, or change the app's branch or tag"
            raise RequestRefused(409, why_no_head(app, refs), hint=hint)
        return head

    async def registered(self, app: App) -> ModelVersion | None:
        """The version of the app's registered model that is deployed now: while its registry cannot say, the one that was seen
        last. RequestRefused 409 when none was."""
        if app.model is None:
            return None
        assert self.models is not None  # noqa: S101 - see Looks
        try:
            return await self.models.present(app)
        except DeploydError as exc:
            known = last_known(app, (await self.store.known([app.name]))[app.name])
            if known is None:
                raise RequestRefused(409, exc.message, hint=exc.hint) from exc
            logger.warning("%s: %s; it is deployed with %s, which was seen last", app.name, exc, known)
            return known
