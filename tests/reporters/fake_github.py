"""A GitHub on loopback with real HTTP: deployments, commit statuses, check runs and App tokens.

It refuses what GitHub's own OpenAPI description does not allow, and what its documentation forbids beside it, and answers with
the description's examples. `faults` are answers that the next requests get instead.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import jwt
from aiohttp import web

from tests.reporters.given import TOKEN
from tests.testbed.github_description import Operation, operation

INSTALLATION = "/repos/{owner}/{repo}/installation"
APP_TOKENS = "/app/installations/{installation_id}/access_tokens"
Answer = tuple[int, Any]


@dataclass
class Asked:
    """One request that was let in."""

    method: str
    path: str
    body: Any


@dataclass
class Fault:
    """An answer instead of the right one. `after`: the request is carried out first, as when only its answer is lost."""

    status: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    cut: bool = False


@dataclass
class App:
    """A GitHub App, installed on all repositories as number 7. Its tokens: `ghs_1_x`, `ghs_2_x`."""

    id: str
    public_key: Any
    permissions: dict[str, str] = field(
        default_factory=lambda: {"deployments": "write", "statuses": "write", "checks": "write"}
    )
    lasts: timedelta = timedelta(hours=1)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, hub: "FakeGitHub", found: Operation, request: web.Request, body: Any) -> Answer:
        """Say which installation it is, or give a token of it, to who proves to be the App."""
        try:
            given = request.headers["Authorization"].removeprefix("Bearer ")
            claims = jwt.decode(
                given, self.public_key, ["RS256"], issuer=self.id, options={"require": ["exp", "iat", "iss"]}
            )
        except jwt.PyJWTError as exc:
            return 401, {"message": f"A JSON web token could not be decoded: {exc}"}
        if claims["exp"] - time.time() > 600:
            return 401, {"message": "'Expiration time' claim ('exp') is too far in the future"}
        if found.template == INSTALLATION:
            return 200, found.example(200) | {"id": 7}
        if not body["permissions"].items() <= self.permissions.items():
            return 422, {"message": "The permissions requested are not granted to this installation."}
        self.taken.append(body)
        token = f"ghs_{len(self.taken)}_x"
        hub.tokens.add(token)
        until = datetime.now(UTC) + self.lasts
        return 201, found.example(201) | {"token": token, "expires_at": f"{until:%Y-%m-%dT%H:%M:%SZ}"}


class FakeGitHub:
    """What it holds, by repository: `deployments` and `runs` by id, `statuses` of commits newest first."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = {TOKEN}
        self.repositories = {"acme/iris"}
        self.asked: list[Asked] = []
        self.wrong: list[str] = []
        self.faults: deque[Fault] = deque()
        self.deployments: dict[int, dict[str, Any]] = {}
        self.states: dict[int, list[dict[str, Any]]] = {}  # of a deployment, newest first
        self.statuses: list[dict[str, Any]] = []
        self.runs: dict[int, dict[str, Any]] = {}
        self.changed = asyncio.Event()
        self.app: App | None = None
        self.holding = ""  # "before" or "after" it is carried out, every request is held up for ever
        self.held = asyncio.Event()
        self.refused = asyncio.Event()  # a token was
        self._ids = count(101)

    @property
    def written(self) -> list[Asked]:
        """The requests that were to change something."""
        return [one for one in self.asked if one.method != "GET"]

    def said(self) -> list[str]:
        """The newest state of each deployment, with its environment, in the order of their creation."""
        return [
            f"{one['environment']}: {self.states[number][0]['state'] if self.states[number] else 'nothing'}"
            for number, one in self.deployments.items()
        ]

    async def until(self, *said: str) -> None:
        """Wait until the deployments say this."""
        async with asyncio.timeout(10):
            while self.said() != list(said):
                self.changed.clear()
                await self.changed.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check a request, carry it out and answer it."""
        body = json.loads(raw) if (raw := await request.read()) else None
        found = operation(request.method, request.path)
        wrong = (
            [f"no operation {request.method} {request.path}"] if found is None else found.faults(request.query, body)
        )
        wrong += _documented(request, body)
        self.wrong += wrong
        if wrong or found is None:
            return web.json_response({"message": f"Validation Failed: {wrong}"}, status=422)
        if self.holding == "before":
            await self._hold()
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.after:
            return _answer(request, fault)
        answer = self._done(found, request, body)
        self.changed.set()
        if self.holding == "after":
            await self._hold()
        return _answer(request, fault) if fault is not None else answer

    async def _hold(self) -> None:
        self.held.set()
        await asyncio.Event().wait()

    def _done(self, found: Operation, request: web.Request, body: Any) -> web.Response:
        if self.app is not None and found.template in {APP_TOKENS, INSTALLATION}:
            status, answer = self.app.answer(self, found, request, body)
            return web.json_response(answer, status=status)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.refused.set()
            return web.json_response({"message": "Bad credentials"}, status=401)
        _, _, owner, name, *rest = request.path.split("/")
        if f"{owner}/{name}" not in self.repositories:
            return web.json_response({"message": "Not Found"}, status=404)
        self.asked.append(Asked(request.method, "/" + "/".join(rest), body))
        does = _DONE[f"{request.method} {found.template.removeprefix('/repos/{owner}/{repo}')}"]
        status, answer = does(self, found, rest, request.query, body)
        return web.json_response(answer, status=status)

    def _create(self, found: Operation, parts: list[str], _: Mapping[str, str], body: Any) -> Answer:
        number = next(self._ids)
        into = self.deployments if parts == ["deployments"] else self.runs
        into[number] = found.example(201) | deepcopy(body) | {"id": number}
        self.states[number] = []
        return 201, into[number]

    def _list_deployments(self, _: Operation, __: list[str], query: Mapping[str, str], ___: Any) -> Answer:
        wanted = {key: query[name] for key, name in (("ref", "sha"), ("environment", "environment")) if name in query}
        return 200, [one for one in reversed(self.deployments.values()) if one.items() >= wanted.items()]

    def _say(self, found: Operation, parts: list[str], _: Mapping[str, str], body: Any) -> Answer:
        self.states[int(parts[1])].insert(0, body)
        return 201, found.example(201) | body

    def _list_states(self, _: Operation, parts: list[str], query: Mapping[str, str], ___: Any) -> Answer:
        return 200, self.states[int(parts[1])][: int(query["per_page"])]

    def _set_status(self, found: Operation, parts: list[str], _: Mapping[str, str], body: Any) -> Answer:
        self.statuses.insert(0, body | {"sha": parts[1]})
        return 201, found.example(201) | body

    def _list_statuses(self, _: Operation, parts: list[str], __: Mapping[str, str], ___: Any) -> Answer:
        return 200, [one for one in self.statuses if one["sha"] == parts[1]]

    def _change_run(self, found: Operation, parts: list[str], _: Mapping[str, str], body: Any) -> Answer:
        run = self.runs[int(parts[1])]
        run |= body
        return 200, found.example(200) | run

    def _list_runs(self, _: Operation, parts: list[str], query: Mapping[str, str], ___: Any) -> Answer:
        wanted = {"head_sha": parts[1]} | ({"name": query["check_name"]} if "check_name" in query else {})
        runs = [one for one in self.runs.values() if one.items() >= wanted.items()]
        return 200, {"total_count": len(runs), "check_runs": _page(runs, query)}

    def _combined_status(self, found: Operation, parts: list[str], query: Mapping[str, str], _: Any) -> Answer:
        """The newest status of each context; GitHub calls it pending when there is none."""
        newest: dict[str, dict[str, Any]] = {}
        for one in self.statuses:
            if one["sha"] == parts[1]:
                newest.setdefault(one["context"], one)
        states = {one["state"] for one in newest.values()}
        state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
        more = {"state": state, "sha": parts[1], "total_count": len(newest)}
        return 200, found.example(200) | more | {"statuses": _page(list(newest.values()), query)}


_DONE: Mapping[str, Callable[[FakeGitHub, Operation, list[str], Mapping[str, str], Any], Answer]] = {
    "POST /deployments": FakeGitHub._create,
    "GET /deployments": FakeGitHub._list_deployments,
    "POST /deployments/{deployment_id}/statuses": FakeGitHub._say,
    "GET /deployments/{deployment_id}/statuses": FakeGitHub._list_states,
    "POST /statuses/{sha}": FakeGitHub._set_status,
    "GET /commits/{ref}/statuses": FakeGitHub._list_statuses,
    "POST /check-runs": FakeGitHub._create,
    "PATCH /check-runs/{check_run_id}": FakeGitHub._change_run,
    "GET /commits/{ref}/check-runs": FakeGitHub._list_runs,
    "GET /commits/{ref}/status": FakeGitHub._combined_status,
}


def _page(rows: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
    return rows[size * (page - 1) : size * page]


def _documented(request: web.Request, body: Any) -> list[str]:
    """What the documentation says and the description does not."""
    found = [] if request.headers.get("User-Agent") else ["a User-Agent is needed"]
    if request.headers.get("X-GitHub-Api-Version") != "2022-11-28":
        found.append("no known version of the API")
    if isinstance(body, dict) and len(body.get("description") or "") > 140:
        found.append("description is too long (maximum is 140 characters)")
    output = body.get("output", {}) if isinstance(body, dict) else {}
    return found + [
        f"{part} is longer than 65535 bytes" for part, text in output.items() if len(text.encode()) > 65_535
    ]


def _answer(request: web.Request, fault: Fault) -> web.Response:
    if fault.cut:
        assert request.transport is not None
        request.transport.close()
    return web.json_response({"message": fault.message}, status=fault.status, headers=fault.headers)


@asynccontextmanager
async def fake_github() -> AsyncIterator[FakeGitHub]:
    """Serve one for the length of the block; it must have been asked nothing that the description does not allow."""
    hub = FakeGitHub()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hub.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # whoever is held up is let go
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hub
        assert hub.wrong == []
    finally:
        await runner.cleanup()
