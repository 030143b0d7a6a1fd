"""The door for webhooks: verifies one POST, stores the delivery and answers, or refuses it and says why.

A bare ASGI callable in front of the application. The forge parses the delivery, the config says which apps follow its ref,
`accept` stores it. A body without a valid signature is not parsed, kept or logged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import Counter
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from deployd.api.not_kept import NotKeptList
from deployd.config.app import App
from deployd.delivery import Delivery, Followed, Ignored, Moved, Ping, Proposal, Push, Pushes
from deployd.errors import DeliveryRejected, Unavailable
from deployd.forges.filters import follows, why_ignored, why_not_proven
from deployd.forges.forge import Forge, Headers, Said
from deployd.forges.form import payload
from deployd.http.bodies import SMALL, Bodies, Gone, too_large
from deployd.http.problems import PROBLEM_JSON, problem
from deployd.logs.log import printable

_log = logging.getLogger(__name__)

Accept = Callable[[Delivery, Sequence[Followed]], Awaitable[Sequence[str]]]
"""Takes all pushes of a delivery that apps follow, stores them at once and returns the names of the apps to answer. For a
repeated delivery those are the names of the first time. Raises Unavailable."""

Propose = Callable[[Delivery, Proposal, Sequence[str]], Awaitable[Sequence[str]]]
"""Takes a commit of a pull request and the names of the apps that are to prove it; returns those names. Raises Unavailable."""

_FORMS = {b"application/json": False, b"application/x-www-form-urlencoded": True}
_REFUSED_AS = {
    400: "malformed",
    401: "unverified",
    405: "unsupported",
    413: "too_large",
    415: "unsupported",
    429: "unavailable",
    503: "unavailable",
}
_OUTCOMES = ("accepted", "ignored", "ping", "aborted", "failed", "rejected", *_REFUSED_AS.values())
_LARGE_AT_ONCE = 4


def bodies_of(max_body: int) -> Bodies:
    """The limit for the bodies of all doors together."""
    return Bodies(most=_LARGE_AT_ONCE * max_body)


class WebhookDoor:
    """Takes the deliveries of one forge. Without secrets every delivery is refused with 401."""

    def __init__(
        self,
        forge: Forge,
        accept: Accept,
        deliveries: Counter,
        *,
        propose: Propose,
        apps: Sequence[App],
        max_body: int,
        bodies: Bodies | None = None,
        not_kept: NotKeptList | None = None,
    ) -> None:
        """`bodies` is the limit and `not_kept` the list of refused and ignored requests; both can be shared with other doors."""
        self._accept = accept
        self._propose = propose
        self._max_body = max_body
        self._bodies = bodies or bodies_of(max_body)
        self._not_kept = not_kept or NotKeptList()
        self._one_large = asyncio.Lock()
        self._counts = {outcome: deliveries.labels(forge.name, outcome) for outcome in _OUTCOMES}
        self.trust(forge)
        self.follow(apps)

    def trust(self, forge: Forge) -> None:
        """Accept the secrets of `forge` from now on, and no others."""
        self._forge = forge

    def follow(self, apps: Sequence[App]) -> None:
        """Use these apps from now on."""
        self._apps: dict[str | None, list[App]] = {}
        self._of_model: dict[tuple[str, str], list[str]] = {}
        for app in apps:
            self._apps.setdefault(app.webhook_name, []).append(app)
            if app.model is not None:
                self._of_model.setdefault((app.model.name, app.model.alias), []).append(app.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = _headers(scope["headers"])
        try:
            form = self._admit(scope["method"], headers)
            async with self._bodies.read(receive, self._limit(form=form)) as raw:
                answer = await self._answer(raw, scope, headers, form=form)
        except Gone:
            self._counts["aborted"].inc()
            return
        except DeliveryRejected as exc:
            answer = self._refused(scope, exc)
            answer.headers["connection"] = "close"  # the rest of the body is not read
        await answer(scope, receive, send)

    async def _answer(self, raw: bytes, scope: Scope, headers: Headers, *, form: bool) -> Response:
        try:
            delivery, found = await self._read(raw, headers, form=form)
            return await self._say(delivery, found)
        except DeliveryRejected as exc:
            if exc.status != 401:
                _log.warning("Delivery from %s rejected with %d: %s", self._forge.name, exc.status, exc.message)
            return self._refused(scope, exc)
        except Unavailable as exc:
            _log.error("Delivery from %s not stored: %s", self._forge.name, exc.message)
            hint = "redeliver it in a moment"
            refusal = DeliveryRejected(503, "the delivery cannot be stored now", hint=hint, retry_after=30)
            return self._refused(scope, refusal)
        except Exception:
            self._counts["failed"].inc()
            raise

    async def _say(self, delivery: Delivery, found: Said) -> Response:
        match found:
            case Ping():
                self._counts["ping"].inc()
                self._not_kept.ignored(delivery, found, "a ping asks only whether deployd is there")
                return JSONResponse({"pong": True})
            case Ignored(reason):
                return self._ignored(delivery, found, reason)
            case Proposal():
                return await self._prove(delivery, found)
            case Moved():
                return await self._take_model(delivery, found)
            case Push() | Pushes():
                return await self._take(delivery, found)

    async def _read(self, raw: bytes, headers: Headers, *, form: bool) -> tuple[Delivery, Said]:
        """Verify, then parse. A large body takes tens of milliseconds, so it goes to a thread, one at a time."""
        if len(raw) <= SMALL:
            return self._read_now(raw, headers, form=form)
        async with self._one_large:
            return await asyncio.to_thread(self._read_now, raw, headers, form=form)

    def _read_now(self, raw: bytes, headers: Headers, *, form: bool) -> tuple[Delivery, Said]:
        forge = self._forge
        if not forge.verify(raw, headers):
            raise DeliveryRejected(401, "the signature is missing or wrong", hint=forge.doubt)
        delivery = forge.delivery(headers)
        return delivery, forge.parse(delivery.event, payload(raw) if form else raw)

    async def _take(self, delivery: Delivery, found: Push | Pushes) -> Response:
        pushes = found.pushes if isinstance(found, Pushes) else (found,)
        followed = self._followed(pushes)
        if not followed:
            reason = why_ignored([(push, self._of(push)) for push in pushes])
            _log.info("Delivery %s ignored: %s", delivery.guid, reason)
            return self._ignored(delivery, found, reason)
        return await self._accepted(delivery, followed)

    async def _take_model(self, delivery: Delivery, found: Moved) -> Response:
        apps = self._of_model.get((found.model, found.alias), ())
        if not apps:
            reason = f"no app takes {printable(found.model)}@{printable(found.alias)}"
            _log.info("Delivery %s ignored: %s", delivery.guid, reason)
            return self._ignored(delivery, found, reason)
        return await self._accepted(delivery, [Followed(Push(found.model, f"@{found.alias}", ""), tuple(apps))])

    async def _accepted(self, delivery: Delivery, followed: Sequence[Followed]) -> Response:
        names = await self._accept(delivery, followed)
        self._counts["accepted"].inc()
        return JSONResponse({"delivery": delivery.guid, "apps": list(names)}, 202)

    async def _prove(self, delivery: Delivery, shown: Proposal) -> Response:
        apps = [app for app in self._apps.get(shown.repository, ()) if app.prove_pull_requests]
        if not apps:
            return self._ignored(delivery, shown, f"event {delivery.event} does not deploy")
        proving = [app.name for app in apps if follows(app, shown.ref)]
        if not proving or shown.fork is not None:
            reason = why_not_proven(shown, proving or [app.name for app in apps], followed=bool(proving))
            _log.info("Delivery %s ignored: %s", delivery.guid, reason)
            return self._ignored(delivery, shown, reason)
        names = await self._propose(delivery, shown, proving)
        self._counts["accepted"].inc()
        return JSONResponse({"delivery": delivery.guid, "apps": list(names)}, 202)

    def _followed(self, pushes: Sequence[Push]) -> list[Followed]:
        """For each push the apps that follow it, each app only once, since its look reads all heads. Existing refs come before
        deleted ones."""
        found: list[Followed] = []
        seen: set[str] = set()
        for push in sorted(pushes, key=lambda one: one.deleted):
            apps = tuple(app.name for app in self._of(push) if app.name not in seen and follows(app, push.ref))
            if apps:
                seen.update(apps)
                found.append(Followed(push, apps))
        return found

    def _of(self, push: Push) -> Sequence[App]:
        """The apps of the push's repository, by any of its names."""
        if not push.aliases:
            return self._apps.get(push.repository, ())
        names = (push.repository, *push.aliases)
        return list({app.name: app for name in names for app in self._apps.get(name, ())}.values())

    def _ignored(self, delivery: Delivery, found: Said, reason: str) -> Response:
        self._counts["ignored"].inc()
        self._not_kept.ignored(delivery, found, reason)
        return JSONResponse({"ignored": reason})

    def _refused(self, scope: Scope, exc: DeliveryRejected) -> Response:
        self._counts[_REFUSED_AS.get(exc.status, "rejected")].inc()
        self._not_kept.refused(self._forge.name, scope, exc)
        headers = {"allow": "POST"} if exc.status == 405 else {}
        if exc.retry_after is not None:
            headers["retry-after"] = str(exc.retry_after)
        return Response(problem(exc.status, exc.message, exc.hint), exc.status, headers, PROBLEM_JSON.decode())

    def _admit(self, method: str, headers: Headers) -> bool:
        """Check the request before its body is read; returns whether the body is a form. Raises DeliveryRejected."""
        if method != "POST":
            raise DeliveryRejected(
                405, "a delivery must be a POST", hint="enter this address as a webhook in the forge's settings"
            )
        form = self._is_form(headers)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise DeliveryRejected(
                400, "Content-Length is malformed", hint="it must be the length of the body in bytes"
            )
        if int(length) > self._limit(form=form):
            raise too_large(self._limit(form=form))
        return form

    def _is_form(self, headers: Headers) -> bool:
        if b"content-encoding" in headers:
            raise DeliveryRejected(415, "a compressed body is not accepted", hint="send it without Content-Encoding")
        media_type = headers.get(b"content-type", b"")
        form = _FORMS.get(media_type)
        if form is None:
            form = _FORMS.get(media_type.partition(b";")[0].strip().lower())
        if form is None or (form and not self._forge.forms):
            other = ", or application/x-www-form-urlencoded" if self._forge.forms else ""
            hint = f"set the webhook's content type to application/json{other}"
            raise DeliveryRejected(415, "the content type is not accepted", hint=hint)
        return form

    def _limit(self, *, form: bool) -> int:
        return self._max_body * 3 // 2 if form else self._max_body


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> Headers:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined
