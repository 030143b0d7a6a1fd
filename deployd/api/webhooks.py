"""The door for forges: from one POST to a durable answer, or to a refusal that says why.

A bare ASGI callable in front of the application, as every layer between costs more than all that is done here: one read, one
HMAC for each secret, one parse, one await, one write. What a delivery means is the forge's and the filters' to say, what
becomes of it is `accept`'s; nothing is parsed, kept or logged of bytes that no secret vouches for.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from deployd.config.app import App
from deployd.domain import Accepted, Delivery, Ignored, Ping, Push, Trigger, Wanted
from deployd.errors import DeliveryRejected, Unavailable
from deployd.forges import github
from deployd.forges.body import decode
from deployd.forges.filters import follows, refusal, why_ignored
from deployd.http.bodies import SMALL, Bodies, Gone, too_large
from deployd.http.exchange import Answer, Headers, Later
from deployd.http.problems import PROBLEM_JSON, problem

_log = logging.getLogger(__name__)

Accept = Callable[[Delivery, Sequence[Wanted]], asyncio.Future[Accepted]]

JSON = b"application/json"
_FORMS = {JSON: False, b"application/x-www-form-urlencoded": True}
_OUTCOMES = {
    400: "malformed",
    401: "unverified",
    405: "unsupported",
    413: "too_large",
    415: "unsupported",
    429: "unavailable",
    503: "unavailable",
}
_LARGE_AT_ONCE = 4


class Forge(Protocol):
    """What a module of `deployd.forges` offers."""

    NAME: str

    def verify(self, raw: bytes, headers: Headers, secrets: Sequence[bytes]) -> bool: ...

    def delivery(self, headers: Headers) -> Delivery: ...

    def parse(self, event: str, body: Mapping[str, Any]) -> Push | Ping | Ignored: ...


class _Judgement(NamedTuple):
    """What a delivery asks for, and why not if that is nothing."""

    delivery: Delivery
    wanted: Sequence[Wanted] = ()
    refusal: str = ""


class WebhookDoor:
    """Takes one forge's deliveries. Without secrets it takes none: every delivery is refused with 401."""

    def __init__(
        self,
        accept: Accept,
        deliveries: Counter,
        *,
        secrets: Sequence[bytes],
        apps: Sequence[App],
        max_body: int,
        forge: Forge = github,
    ) -> None:
        self._accept = accept
        self._forge = forge
        self._max_body = max_body
        self._bodies = Bodies(most_held=_LARGE_AT_ONCE * max_body)
        self._one_large = asyncio.Lock()
        names = ("accepted", "ignored", "ping", "aborted", "failed", "rejected", *_OUTCOMES.values())
        self._counts = {name: deliveries.labels(forge.NAME, name) for name in names}
        self.reload(secrets=secrets, apps=apps)

    def reload(self, *, secrets: Sequence[bytes], apps: Sequence[App]) -> None:
        """From now on these secrets vouch, and these apps want; a secret that is left out is refused at once."""
        self._secrets = tuple(secret for secret in secrets if secret)
        by_repository: dict[str, list[App]] = {}
        for app in apps:
            by_repository.setdefault(app.repository, []).append(app)
        self._apps = by_repository

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A delivery as an ASGI application gets it, in pieces."""
        headers = _headers(scope["headers"])
        try:
            form = self._admit(scope["method"], headers)
            raw = await self._bodies.read(receive, self._limit(form=form))
        except DeliveryRejected as exc:
            # The rest of the body is unread, so that the connection cannot go on.
            answer = self._refused(exc, (b"connection", b"close"))
        except Gone:
            self.hung_up()
            return
        else:
            answer = await self._answer(headers, raw, form=form)
        length = str(len(answer.body)).encode()
        head = [(b"content-type", answer.media_type), (b"content-length", length), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.body})

    def take(self, headers: Headers, body: bytes) -> Answer | Later:
        """A delivery that came in one piece; see Taker."""
        try:
            form = self._admit("POST", headers)
        except DeliveryRejected as exc:
            return self._refused(exc)
        try:
            return self._hand_on(self._judgement(body, headers, form=form))
        except Exception as exc:  # noqa: BLE001 - a bug is raised again
            return self._failed(exc)

    def hung_up(self) -> None:
        """The sender went before all was there."""
        self._counts["aborted"].inc()

    async def _answer(self, headers: Headers, raw: bytes, *, form: bool) -> Answer:
        try:
            answer = self._hand_on(await self._judge(raw, headers, form=form))
        except Exception as exc:  # noqa: BLE001 - a bug is raised again
            answer = self._failed(exc)
        return await answer.wait() if isinstance(answer, Later) else answer

    def _hand_on(self, judgement: _Judgement) -> Answer | Later:
        """Hand on what is wanted and what is declined; only what was wanted is a deploy."""
        if not judgement.wanted:
            return self._ignored(judgement)
        accepted = self._accept(judgement.delivery, judgement.wanted)
        return Later(accepted, lambda: self._handed_on(judgement, accepted))

    def _handed_on(self, judgement: _Judgement, accepted: asyncio.Future[Accepted]) -> Answer:
        try:
            deploys = accepted.result().deploys
        except Exception as exc:  # noqa: BLE001 - a bug is raised again
            return self._failed(exc)
        if not deploys:
            return self._ignored(judgement)
        self._counts["accepted"].inc()
        found = [{"app": d.app, "number": d.number, "commit": d.commit, "status": d.status} for d in deploys]
        return Answer(202, orjson.dumps({"deploys": found}), JSON)

    def _failed(self, exc: Exception) -> Answer:
        """What is answered when a delivery that was admitted is not taken."""
        match exc:
            case DeliveryRejected():
                if exc.status != 401:
                    _log.warning("Delivery of %s rejected with %d: %s", self._forge.NAME, exc.status, exc.message)
                return self._refused(exc)
            case Unavailable():
                _log.error("Delivery of %s not taken: %s", self._forge.NAME, exc.message)
                return self._refused(_busy("the delivery cannot be stored now", retry_after=30))
            case _:
                self._counts["failed"].inc()
                raise exc

    def _ignored(self, judgement: _Judgement) -> Answer:
        delivery, _, refusal = judgement
        if delivery.event == "ping":
            self._counts["ping"].inc()
            return _PONG
        if delivery.event == "push":
            _log.info("Delivery %s ignored: %s", delivery.guid, refusal)
        self._counts["ignored"].inc()
        return Answer(200, orjson.dumps({"ignored": refusal}), JSON)

    def _refused(self, exc: DeliveryRejected, *headers: tuple[bytes, bytes]) -> Answer:
        self._counts[_OUTCOMES.get(exc.status, "rejected")].inc()
        if exc.status == 405:
            headers = (*headers, (b"allow", b"POST"))
        if exc.retry_after is not None:
            headers = (*headers, (b"retry-after", str(exc.retry_after).encode()))
        return Answer(exc.status, problem(exc.status, exc.message, exc.hint), PROBLEM_JSON, headers)

    def _admit(self, method: str, headers: Headers) -> bool:
        """Whether the body is a form, by what is known before it is read; DeliveryRejected when it need not be read."""
        if method != "POST":
            raise DeliveryRejected(405, "a delivery is a POST", hint="give the forge this address as a webhook's")
        form = _is_form(headers)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise DeliveryRejected(400, "Content-Length is malformed", hint="it is the number of the body's bytes")
        if int(length) > self._limit(form=form):
            raise too_large(self._limit(form=form))
        return form

    def _limit(self, *, form: bool) -> int:
        return self._max_body * 3 // 2 if form else self._max_body

    async def _judge(self, raw: bytes, headers: Headers, *, form: bool) -> _Judgement:
        if len(raw) <= SMALL:
            return self._judgement(raw, headers, form=form)
        try:
            async with self._one_large:
                return await asyncio.to_thread(self._judgement, raw, headers, form=form)
        finally:
            self._bodies.release(raw)

    def _judgement(self, raw: bytes, headers: Headers, *, form: bool) -> _Judgement:
        """What the delivery asks for. Pure; runs in a thread when `raw` is large."""
        forge = self._forge
        if not forge.verify(raw, headers, self._secrets):
            hint = f"the webhook's secret must be one of secrets in [{forge.NAME}], and its body must arrive unchanged"
            raise DeliveryRejected(401, "the signature is missing or wrong", hint=hint)
        delivery = forge.delivery(headers)
        match forge.parse(delivery.event, decode(raw, form=form, large=len(raw) > SMALL)):
            case Ping():
                return _Judgement(delivery)
            case Ignored(reason):
                return _Judgement(delivery, refusal=reason)
            case Push() as push:
                return _Judgement(delivery, *self._wanted(delivery, push))

    def _wanted(self, delivery: Delivery, push: Push) -> tuple[list[Wanted], str]:
        """What the apps of the push's repository want or decline of it, and why not if none wants it."""
        wanted: list[Wanted] = []
        refusals: list[tuple[App, str]] = []
        trigger = Trigger("push", delivery=delivery.guid)
        for app in self._apps.get(push.repository.lower(), ()):
            if (reason := refusal(app, push)) is not None:
                refusals.append((app, reason))
                if not follows(app, push):
                    continue
            wanted.append(
                Wanted(
                    *(app.name, push.after, push.ref, trigger, push.subject, push.author),
                    before=push.before,
                    declined=reason is not None,
                )
            )
        return wanted, why_ignored(push, refusals) if refusals or not wanted else ""


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> Headers:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _is_form(headers: Headers) -> bool:
    if b"content-encoding" in headers:
        raise DeliveryRejected(415, "a compressed body is not taken", hint="send it without Content-Encoding")
    media_type = headers.get(b"content-type", b"")
    form = _FORMS.get(media_type)
    if form is None:
        form = _FORMS.get(media_type.partition(b";")[0].strip().lower())
    if form is None:
        hint = "set the webhook's content type to application/json, or application/x-www-form-urlencoded"
        raise DeliveryRejected(415, "the content type is not one that is taken", hint=hint)
    return form


def _busy(detail: str, *, retry_after: int) -> DeliveryRejected:
    return DeliveryRejected(503, detail, hint="redeliver it in a moment", retry_after=retry_after)


_PONG = Answer(200, b'{"pong":true}', JSON)
