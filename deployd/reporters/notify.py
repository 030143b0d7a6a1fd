"""Sends messages to people, through Apprise: one reporter for each configured URL.

Apprise is large and blocks, so it is imported with the first message, in a thread of its own. A thread that hangs keeps nobody
from stopping. Whatever Apprise says is told without the URL.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, TypeVar, cast

from deployd.config.notify import Notify
from deployd.errors import DeploydError, Unavailable
from deployd.logs.redaction import Redactor
from deployd.reporters.message import Message
from deployd.reporters.news import Newsroom
from deployd.reporters.reporter import Refused, Told
from deployd.status import Status
from deployd.store.outbox import Report

T = TypeVar("T")
logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30.0
_PATIENCE_SECONDS = 6 * 3600.0
_STATUSES = frozenset({Status.LIVE, Status.FAILED, Status.REVERTED})
_LONGEST_SAID = 300


class NotifyReporter:
    """Implements Reporter for one URL; `reference` names it in the config, without its secrets."""

    patience = _PATIENCE_SECONDS

    def __init__(self, reference: str, url: str, newsroom: Newsroom, settings: Notify) -> None:
        self.reference = reference
        self._service = Service(url)
        self._newsroom = newsroom
        self._settings = settings

    @property
    def name(self) -> str:
        """See Reporter."""
        return f"notify {self.reference}"

    @property
    def statuses(self) -> Collection[Status]:
        """See Reporter."""
        return _STATUSES

    async def close(self) -> None:
        """See Reporter."""

    async def tell(self, report: Report) -> Told:
        """See Reporter."""
        message = await self._newsroom.message(report, self._settings)
        if message is None:
            return Told()
        await self.send(message)
        return Told(said=message.title)

    async def send(self, message: Message) -> None:
        """Send any message. Raises Refused or Unavailable."""
        await in_own_thread(lambda: self._service.send(message))


class Service:
    """One URL of Apprise."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redactor = Redactor([url, *(part for part in re.split(r"[/:@?&=#,]+", url) if len(part) > 3)])

    def why_bad(self) -> str:
        """Why Apprise cannot use the URL; empty when it can. Blocks."""
        try:
            self._made()
        except Refused as exc:
            return exc.message
        return ""

    def send(self, message: Message) -> None:
        """Send a message, cut to what the service takes. Blocks. Raises Refused or Unavailable."""
        try:
            self._send(message)
        except DeploydError:
            raise
        except Exception as exc:  # noqa: BLE001 - a hundred plugins, each with errors of its own
            said = self._redactor.redact(f"{type(exc).__name__}: {exc}")[:_LONGEST_SAID]
            raise Unavailable(f"the message could not be sent: {said}") from None

    def _send(self, message: Message) -> None:
        import apprise  # noqa: PLC0415 - large, and only needed where somebody is notified

        sender = apprise.Apprise()
        sender.add(self._made())
        result = sender.notify(
            message.body or message.title,
            title=message.title if message.body else "",
            notify_type=message.mood,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=_TIMEOUT_SECONDS,
        )
        said = self._said(result)
        if result.status == apprise.AppriseResultStatus.PARTIAL:
            logger.warning(
                "A message reached only some of the targets of its URL: %s", said
            )  # once more would repeat it
        elif not result:
            raise Unavailable(f"the message could not be sent: {said}")

    def _made(self) -> Any:
        import apprise  # noqa: PLC0415 - see above

        asset = apprise.AppriseAsset(http_redirects=False, storage_mode="memory", app_id="deployd", app_desc="deployd")
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it quotes URLs; its words are in the result
        service = apprise.Apprise.instantiate(self._url, asset=asset)
        if service is None:
            scheme = self._url.partition("://")[0] if "://" in self._url else ""
            known = f'"{scheme}://" with these parts' if re.fullmatch("[A-Za-z0-9]{1,20}", scheme) else "it"
            what = f"Apprise cannot use the URL: it knows no service for {known}"
            raise Refused(what, hint="docs/notifications.md shows the URLs of some services", everything=True)
        service.overflow_mode = apprise.OverflowMode.TRUNCATE
        return service

    def _said(self, result: Any) -> str:
        """Apprise's error text, without any part of the URL."""
        lines = [str(getattr(entry, "message", entry)) for entry in result.logs()]
        said = " ".join("; ".join(lines[-3:]).split()) or str(result.status.name).lower()
        return self._redactor.redact(said)[:_LONGEST_SAID]


async def in_own_thread(call: Callable[[], T]) -> T:
    """The result of a call that blocks. The process may end while it does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as exc:  # noqa: BLE001 - whoever awaits the future gets it
            error = exc
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="notify", daemon=True).start()
    return await future
