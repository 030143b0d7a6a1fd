"""Push images to a registry through the engine, then ask the registry whether it has them.

The engine's answer is not enough: its stream can end early, and some engines never name the digest. An image counts as pushed
only when the registry has its manifest. Plain http is used only for a registry that is configured as insecure.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from msgspec import structs

from deployd.config.daemon import Registry as Settings
from deployd.config.values import read_secret
from deployd.domain import Image
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import ConfigError, RolloutFailed, Unavailable
from deployd.ports.log import Log

_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_SILENCE_S = 120.0
_PERMANENT = re.compile(
    r"denied|unauthorized|authentication|no basic auth|forbidden|does not exist|http response to https|immutable|quota|"
    r"insufficient.scope|(?:tag|name|manifest) invalid|name unknown|not allowed|polic(?:y|ies)|too large|unsupported",
    re.IGNORECASE,
)
_LONGEST_MANIFEST = 16 * 1024 * 1024


class Registry:
    """The one registry that `[registry]` names."""

    def __init__(self, settings: Settings) -> None:
        scheme, separator, _ = settings.url.partition("://")
        if separator and scheme == "http" and not settings.insecure:
            raise ConfigError(
                "registry.url: plain http needs insecure = true",
                hint="images and the password are sent unencrypted then",
            )
        self._settings = settings
        self._scheme = scheme if separator else "http" if settings.insecure else "https"
        self.prefix = settings.prefix

    async def push(self, image: Image, log: Log) -> Image:
        """Push `image`; the same image with its digest in the registry. An image that already has a digest is only looked up."""
        credentials = self._credentials(log)
        async with self._http() as http:
            if image.digest is not None:
                if await self._digest(http, image.name, image.digest, credentials) is None:
                    raise RolloutFailed(
                        f"{image.reference} is not in the registry",
                        hint="it may have been removed there; deploy its commit again",
                    )
                return image
            pushed = await self._push(image, credentials, log)
            digest = pushed or await self._digest(http, image.name, image.tag, credentials)
            if digest is None or await self._digest(http, image.name, digest, credentials) is None:
                raise Unavailable(f"the registry does not have {image.reference} though it was pushed")
        log.write(f"{image.name}:{image.tag} is in the registry as {digest}\n")
        return structs.replace(image, digest=digest)

    async def has(self, image: Image) -> bool:
        """Whether the registry has an image that was pushed."""
        async with self._http() as http:
            return await self._digest(http, image.name, image.digest or image.tag, self._credentials(None)) is not None

    async def ping(self) -> None:
        """The registry answers and takes our credentials; else Unavailable."""
        async with self._http() as http:
            answer = await self._ask(http, "GET", "/v2/", None, self._credentials(None))
            if answer.status_code >= 400:
                raise Unavailable(f"the registry {self.prefix} answers {answer.status_code}", hint="see [registry]")

    async def _push(self, image: Image, credentials: tuple[str, str] | None, log: Log) -> str | None:
        """Let the engine push; the digest, if the engine names it."""
        digest: str | None = None
        try:
            async with EngineClient() as engine:
                insecure = self._settings.insecure
                pushing = engine.images.push(image.name, image.tag, credentials, insecure=insecure)
                async for said in _while_messages_come(pushing):
                    status, layer = str(said.get("status", "")), said.get("id")
                    if status in {"Pushed", "Layer already exists"}:
                        log.write(f"{layer}: {status}\n")
                    named = (said.get("aux") or {}).get("Digest") or _digest_in(status)
                    digest = named or digest
        except Refused as refused:
            raise _push_failed(image, refused) from refused
        return digest

    def _http(self) -> httpx.AsyncClient:
        host = urlsplit(f"//{self.prefix}").netloc
        return httpx.AsyncClient(base_url=f"{self._scheme}://{host}", timeout=httpx.Timeout(20, connect=5))

    async def _digest(
        self, http: httpx.AsyncClient, name: str, reference: str, credentials: tuple[str, str] | None
    ) -> str | None:
        """The digest of a manifest by tag or digest, None when the registry has none."""
        repository = name.partition("/")[2]
        path, scope = f"/v2/{repository}/manifests/{reference}", f"repository:{repository}:pull"
        answer = await self._ask(http, "HEAD", path, scope, credentials)
        if answer.status_code == 404:
            return None
        digest = answer.headers.get("docker-content-digest", "")
        if answer.status_code == 200 and not _DIGEST.fullmatch(digest):
            # The header is optional. Without it, the digest is computed from the manifest.
            answer = await self._ask(http, "GET", path, scope, credentials)
            digest = f"sha256:{hashlib.sha256(answer.content[:_LONGEST_MANIFEST]).hexdigest()}"
        if answer.status_code in {401, 403}:
            raise RolloutFailed(
                f"the registry refuses {name}: {answer.status_code}", hint="see username and password in [registry]"
            )
        if answer.status_code != 200:
            raise Unavailable(f"the registry answers {answer.status_code} for {name}")
        if _DIGEST.fullmatch(reference) and digest != reference:
            raise RolloutFailed(
                f"the registry answers {digest} when asked for {reference}",
                hint="the registry, or a proxy before it, is not to be trusted",
            )
        return str(digest)

    async def _ask(
        self, http: httpx.AsyncClient, method: str, path: str, scope: str | None, credentials: tuple[str, str] | None
    ) -> httpx.Response:
        """Send one request, with the kind of authentication that the registry asks for."""
        headers = {"Accept": _ACCEPT}
        try:
            answer = await http.request(method, path, headers=headers)
            kind, _, challenge = answer.headers.get("www-authenticate", "").partition(" ")
            if answer.status_code != 401 or not kind:
                return answer
            if kind.lower() == "bearer":
                headers["Authorization"] = f"Bearer {await self._token(http, challenge, scope, credentials)}"
                return await http.request(method, path, headers=headers)
            return await http.request(method, path, headers=headers, auth=credentials) if credentials else answer
        except httpx.HTTPError as exc:
            raise Unavailable(f"the registry {self.prefix} does not answer: {str(exc) or type(exc).__name__}") from exc

    async def _token(
        self, http: httpx.AsyncClient, challenge: str, scope: str | None, credentials: tuple[str, str] | None
    ) -> str:
        said = dict(_CHALLENGE.findall(challenge))
        realm = said.pop("realm", "")
        if not realm.startswith("https://") and not self._settings.insecure:
            raise Unavailable(f"the registry {self.prefix} asks for a login at {realm}, which is not https")
        query = {key: value for key, value in said.items() if key == "service"} | ({"scope": scope} if scope else {})
        answer = await http.get(realm, params=query, auth=credentials)
        try:
            found = answer.json() if answer.status_code == 200 else {}
        except ValueError:
            found = {}
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str):
            raise RolloutFailed(
                f"the registry {self.prefix} gives no token: {answer.status_code}", hint="see [registry]"
            )
        return token

    def _credentials(self, log: Log | None) -> tuple[str, str] | None:
        if self._settings.username is None or self._settings.password is None:
            return None
        password = read_secret(self._settings.password, "registry.password")
        if log is not None:
            log.hide(password)
        return self._settings.username, password


async def _while_messages_come(stream: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    """The messages of `stream`; Unavailable when none comes for a while."""
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                said = await anext(stream, None)
        except TimeoutError as exc:
            raise Unavailable(f"the push stopped: the engine sent nothing for {_SILENCE_S:.0f} s") from exc
        if said is None:
            return
        yield said


def _digest_in(status: str) -> str | None:
    """The digest in `TAG: digest: sha256:... size: N`. Engines with the containerd store give it only there."""
    found = _DIGEST.search(status) if "digest:" in status else None
    return found.group() if found else None


def _push_failed(image: Image, refused: Refused) -> RolloutFailed | Unavailable:
    message = f"{image.name}:{image.tag} was not pushed: {refused.said}"
    if _PERMANENT.search(refused.said):
        return RolloutFailed(
            message, hint="see [registry]; an engine uses plain http only for registries in its insecure-registries"
        )
    return Unavailable(message)
