"""An app's own gates and hooks: a command on this machine or a URL is told what is deployed, and gives a verdict.

A command sees nothing of the daemon's environment. It is the operator's, from the config: nothing of a commit runs here.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deployd.config.app import App
from deployd.config.own_gates import OwnProgram
from deployd.domain import Deploy, GateResult, Image
from deployd.errors import ConfigError
from deployd.gates import verdict
from deployd.host import program
from deployd.logs.log import printable
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context

INSTALL = "install it on the machine of deployd, or change its path"

_AGAIN_S = 1.0
_LONGEST_ANSWER = 64 * 1024
_AWAY = frozenset({502, 503, 504})
_PLAIN = {"Accept-Encoding": "identity"}  # a few bytes could unpack to very many


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that a command or a URL is given. `candidate` and `live` are base URLs, empty where there is none; `headers` are
    those with which both are to be asked."""

    app: App
    deploy: Deploy
    image: Image | None
    candidate: str = ""
    live: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, candidate: Candidate) -> "Facts":
        """The facts of a candidate that is being proven."""
        live = candidate.live.address if candidate.live is not None else ""
        return cls(candidate.app, candidate.deploy, candidate.image, candidate.address, live, dict(candidate.headers))

    @classmethod
    def of_release(cls, app: App, deploy: Deploy, asked: Candidate | None) -> "Facts":
        """The facts of a release that serves. `asked`: how it is asked; None when nothing of it runs."""
        if asked is None:
            return cls(app, deploy, deploy.image)
        return cls(app, deploy, deploy.image, live=asked.address, headers=dict(asked.headers))

    def environment(self) -> dict[str, str]:
        """The facts as environment variables for a command."""
        return {
            "DEPLOYD_APP": self.app.name,
            "DEPLOYD_DEPLOY": str(self.deploy.number),
            "DEPLOYD_COMMIT": self.deploy.commit,
            "DEPLOYD_IMAGE": self.image.reference if self.image is not None else "",
            "DEPLOYD_CANDIDATE_URL": self.candidate,
            "DEPLOYD_LIVE_URL": self.live,
            "DEPLOYD_HEADERS": json.dumps(self.headers),
        }

    def body(self, name: str) -> dict[str, object]:
        """The facts as the body of a request to the gate or hook `name`."""
        return {
            "name": name,
            "app": self.app.name,
            "deploy": self.deploy.number,
            "commit": self.deploy.commit,
            "image": self.image.reference if self.image is not None else None,
            "candidate": self.candidate or None,
            "live": self.live or None,
            "headers": dict(self.headers),
        }


class OwnGate:
    """A gate of the app's own. Implements ports.Gate."""

    def __init__(self, asked: OwnProgram) -> None:
        self.name = asked.name
        self._asked = asked

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:  # noqa: ARG002 - the port's signature
        """The verdict of the command or the URL; failed when it takes too long. ConfigError when there is no such command."""
        if candidate.deploy.rollback_to is not None:
            return GateResult(self.name, "not_judged", "a rollback is not asked: somebody has chosen this release")
        if why := missing(self._asked):
            raise ConfigError(f"app.{candidate.app.name}.gate.{self.name}.command: {why}", hint=INSTALL)
        return await judged(self._asked, Facts.of(candidate), log)


async def judged(asked: OwnProgram, facts: Facts, log: Log) -> GateResult:
    """The verdict of a command or a URL on these facts."""
    if asked.command is None:
        return await _posted(asked, facts)
    try:
        ended = await program.run(
            asked.command, facts.environment(), timeout=asked.timeout, memory=asked.memory, tell=log.write
        )
    except OSError as exc:
        return GateResult(asked.name, "failed", f"it cannot be started: {exc.strerror or exc}")
    if ended.code is None:
        return GateResult(asked.name, "failed", f"took longer than {asked.timeout:g} s and was killed")
    return verdict.of_exit(asked.name, ended.code, log.redact(ended.stdout), log.redact(ended.stderr))


def missing(asked: OwnProgram) -> str:
    """Why its command cannot be run on this machine; empty when it can, or when only a shell could tell."""
    if asked.command is None or shutil.which(asked.command[0], path=program.PATH) is not None:
        return ""
    found = Path(asked.command[0])
    if found.is_file():
        return f"{found} is not executable"
    where = "" if found.is_absolute() else f" in {program.PATH}"
    return f"there is no command {found}{where}"


def programs_of(app: App) -> Iterator[tuple[str, OwnProgram]]:
    """The own gates and hooks of an app, each with its kind."""
    yield from (("gate", one) for one in app.gate)
    yield from (("hook", one) for one in app.hook)


class _TooLong(Exception):
    """An answer is longer than a verdict may be."""


async def _posted(asked: OwnProgram, facts: Facts) -> GateResult:
    """Post the facts. While nothing answers there, it is tried again until the time is up."""
    until, why = time.monotonic() + asked.timeout, "it does not answer"
    async with httpx.AsyncClient(trust_env=False, verify=str(asked.url).startswith("https:")) as http:
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    status, body = await _answer(http, str(asked.url), facts.body(asked.name))
            except TimeoutError:
                break
            except _TooLong:
                return GateResult(asked.name, "failed", f"its answer is longer than {_LONGEST_ANSWER // 1024} KiB")
            except httpx.HTTPError as exc:
                why = str(exc) or type(exc).__name__
            else:
                if status not in _AWAY:
                    return _of_answer(asked.name, status, body)
                why = f"it answers {status}"
            await asyncio.sleep(min(_AGAIN_S, max(until - time.monotonic(), 0)))
    return GateResult(asked.name, "failed", f"{asked.url} gave no verdict within {asked.timeout:g} s: {why}")


async def _answer(http: httpx.AsyncClient, url: str, body: Mapping[str, object]) -> tuple[int, str]:
    """The status, and the text of the answer; of a redirect, where to. _TooLong when it is longer than a verdict may be."""
    content = bytearray()
    async with http.stream("POST", url, json=body, timeout=None, headers=_PLAIN) as answer:
        if answer.has_redirect_location:
            return answer.status_code, f"a redirect to {answer.headers['Location']}, which is not followed"
        async for block in answer.aiter_bytes():
            content += block
            if len(content) > _LONGEST_ANSWER:
                raise _TooLong
        return answer.status_code, content.decode("utf-8", "replace")


def _of_answer(name: str, status: int, body: str) -> GateResult:
    if not 200 <= status < 300:
        return GateResult(name, "failed", printable(f"it answers {status}: {body}".rstrip(": \n")))
    return verdict.of_json(name, body) if body.strip() else GateResult(name, "passed", f"it answers {status}")
