"""Gathers the present data for a message about a deploy."""

from datetime import UTC, datetime

from deployd.config.notify import Notify
from deployd.config.running import Running
from deployd.config.urls import public_urls
from deployd.forges.configured import sections
from deployd.reporters.message import Message, News, is_missed, message
from deployd.status import Status
from deployd.store.outbox import Report
from deployd.store.store import Store

_REMEMBERED = 20


class Newsroom:
    """Reads the store and the config."""

    def __init__(self, running: Running, store: Store) -> None:
        self._running = running
        self._store = store

    async def message(self, report: Report, settings: Notify) -> Message | None:
        """The message for a report; None when there is nothing to say: the occasion is not wanted, or it is over by now."""
        news = await self._news(report)
        return message(news, settings.on, settings.templates) if news is not None else None

    async def _news(self, report: Report) -> News | None:
        deploy = await self._store.deploy(report.app, report.number or 0)
        if deploy is None or deploy.status is not report.status:
            return None
        newer = [one for one in await self._store.deploys(deploy.app, _REMEMBERED) if one.number > deploy.number]
        if deploy.status is Status.LIVE and any(one.status is Status.REVERTED for one in newer):
            return None  # the message about that one says that this one serves again
        before = await self._store.deploys(deploy.app, _REMEMBERED, before=deploy.number)
        config, app = self._running.config, self._running.app(deploy.app)
        unseen = any(one.secrets for one in sections(config).values()) and is_missed(deploy, before)
        base = config.server.base_url.rstrip("/")
        return News(
            deploy,
            await self._store.state(deploy.app),
            before,
            datetime.now(UTC),
            link=f"{base}/apps/{deploy.app}/deploys/{deploy.number}" if base else "",
            url=next(iter(public_urls(config, app)), "") if app is not None else "",
            unseen=unseen and not await self._store.was_delivered(deploy.commit),
        )
