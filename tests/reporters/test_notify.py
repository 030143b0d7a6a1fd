"""Messages through Apprise itself, to a receiver on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from deployd.config.notify import Notify
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.reporters.message import Message
from deployd.reporters.news import Newsroom
from deployd.reporters.notify import NotifyReporter, Service, in_own_thread
from deployd.reporters.reporter import Refused
from deployd.reporters.sender import Sender
from deployd.status import Status
from deployd.store.store import Store
from tests.reporters.conftest import send_all
from tests.reporters.given import running
from tests.store.given import SUCCESS, A, B, C, gone, live, queued

pytestmark = pytest.mark.slow


@dataclass
class Receiver:
    """`got`: the messages; `status`: how it answers."""

    url: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def _receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.answers.set()

    async def take(request: web.Request) -> web.Response:
        receiver.got.append(json.loads(await request.read()))
        await receiver.answers.wait()
        return web.Response(status=receiver.status)

    app = web.Application()
    app.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"json://127.0.0.1:{runner.addresses[0][1]}/hidden-token"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def _sender(store: Store, events: Events, url: str, **settings: Any) -> Sender:
    config = running("https://api.github.com")
    return Sender(NotifyReporter("env:URL", url, Newsroom(config, store), Notify(**settings)), store, events)


async def test_each_end_is_told_once_and_what_is_quiet_is_not(store: Store, events: Events) -> None:
    async with _receiver() as receiver:
        sender = _sender(store, events, receiver.url)
        await store.subscribe({sender.reporter.name: sender.reporter.statuses})
        await live(store, A)
        await send_all(sender)
        await queued(store, B)
        await queued(store, C)
        deploy = await store.take_newest("iris")
        assert deploy is not None
        await gone(store, deploy, Status.BUILDING, Status.FAILED, reason="no such package @here")
        await send_all(sender)
        told = [(one["title"], one["message"]) for one in receiver.got]
        assert [one["type"] for one in receiver.got] == ["success", "failure"]
    assert [title for title, _ in told] == ["iris/1 is live", "iris/3 failed, iris/1 still serves"]
    assert "no such package @\u200bhere" in told[1][1]
    assert "Nothing is deployed by itself" in told[1][1]
    assert told[1][1].endswith("https://deployd.example.com/apps/iris/deploys/3")


async def test_a_return_is_one_message(store: Store, events: Events) -> None:
    async with _receiver() as receiver:
        sender = _sender(store, events, receiver.url)
        await live(store, A)
        deploy = await gone(store, await queued(store, B), *SUCCESS[:-1])
        deploy = await store.advance(deploy, Status.LIVE, watched=True)
        await store.subscribe({sender.reporter.name: sender.reporter.statuses})
        await store.record_return(deploy, "it crashed")
        await send_all(sender)
        (told,) = receiver.got
    assert told["title"] == "iris/2 was reverted, iris/1 serves again"


async def test_a_service_that_refuses_is_asked_again_and_its_url_stays_hidden(
    store: Store, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    async with _receiver() as receiver:
        receiver.status = 500
        sender = _sender(store, events, receiver.url)
        await store.subscribe({sender.reporter.name: sender.reporter.statuses})
        await live(store, A)
        assert await send_all(sender)
        assert "could not be sent" in sender.trouble
        receiver.status = 200
        await send_all(sender)
    assert [one["title"] for one in receiver.got] == ["iris/1 is live"] * 2
    assert await store.unsent_reports() == []
    assert "hidden-token" not in caplog.text


async def test_a_url_that_apprise_does_not_know_is_told_without_its_secret() -> None:
    for url in ("slock://hidden-token", "hidden-token", "slack://hidden-token"):
        why = await in_own_thread(Service(url).why_bad)
        assert why.startswith("Apprise cannot use the URL")
        assert "hidden" not in why
        with pytest.raises(Refused) as refused:
            await in_own_thread(partial(Service(url).send, Message("t", "b")))
        assert "docs/notifications.md" in refused.value.hint


async def test_a_long_message_is_cut_to_what_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _receiver() as receiver:
        service = Service(receiver.url)
        made = service._made()
        monkeypatch.setattr(type(made), "body_maxlen", 100)
        await in_own_thread(lambda: service.send(Message("title", "x" * 5000)))
    assert len(receiver.got[0]["message"]) <= 100


async def test_a_service_that_does_not_answer_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.reporters.notify._TIMEOUT_SECONDS", 0.5)
    async with _receiver() as receiver:
        receiver.answers.clear()
        with pytest.raises(Unavailable, match="could not be sent"):
            await in_own_thread(partial(Service(receiver.url).send, Message("t", "b")))
        receiver.answers.set()
