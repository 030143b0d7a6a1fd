"""The one door to MLflow's API. It asks only the server that the config names, whatever address a version of a model names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from deployd.config.models import Model
from deployd.config.values import read_secret, read_token
from deployd.errors import BuildFailed, Unavailable
from deployd.goal import ModelVersion
from deployd.logs.log import printable
from deployd.mlflow.faults import fault_of, strange
from deployd.wording import plain

_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
# MLflow fetches a whole file from S3 and the like before it sends the first byte of it.
_OF_A_FILE = httpx.Timeout(20.0, connect=5.0, read=900.0)
_LONGEST = 4 * 1024**2  # of what is JSON
_PREFIX = "/api/2.0/mlflow"
_READY = "READY"
_LOGGED = "models:/"

T = TypeVar("T")


class _Version(msgspec.Struct):
    name: str
    version: str
    source: str = ""
    creation_timestamp: int = 0
    status: str = _READY


class _OneVersion(msgspec.Struct):
    model_version: _Version


class _Uri(msgspec.Struct):
    artifact_uri: str


class Listed(msgspec.Struct):
    """One name in a directory of artifacts."""

    path: str
    is_dir: bool = False
    file_size: int = 0


class _Listing(msgspec.Struct):
    files: list[Listed] = []


class MlflowApi:
    """Asks the registries of all apps."""

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    async def by_alias(self, app: str, model: Model) -> ModelVersion:
        """The version that the alias points to."""
        what = f"the alias {model.alias} of {model.name}"
        query = {"name": model.name, "alias": model.alias}
        path = f"{_PREFIX}/registered-models/alias"
        return _version(model, (await self._json(_OneVersion, app, model, path, query, what)).model_version)

    async def version(self, app: str, model: Model, number: str) -> ModelVersion:
        """A version by its number, as it is now."""
        what = f"version {number} of {model.name}"
        query = {"name": model.name, "version": number}
        path = f"{_PREFIX}/model-versions/get"
        return _version(model, (await self._json(_OneVersion, app, model, path, query, what)).model_version)

    async def listed(self, app: str, model: Model, version: ModelVersion, below: str) -> list[Listed]:
        """The files and directories in one directory of a version, as they are named there."""
        what = f"the files of {version}"
        if version.source.startswith(_LOGGED):
            logged = version.source.removeprefix(_LOGGED).strip("/")
            if not logged.replace("-", "").isalnum():
                raise _unreadable(model, version, version.source)
            query = {"artifact_directory_path": below} if below else {}
            path = f"{_PREFIX}/logged-models/{logged}/artifacts/directories"
            return (await self._json(_Listing, app, model, path, query, what)).files
        asked = {"name": version.name, "version": version.version}
        uri = (
            await self._json(_Uri, app, model, f"{_PREFIX}/model-versions/get-download-uri", asked, what)
        ).artifact_uri
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            raise _unreadable(model, version, uri)
        root = f"{parts.path.strip('/')}/{below}".strip("/")
        path = "/api/2.0/mlflow-artifacts/artifacts"
        found = (await self._json(_Listing, app, model, path, {"path": root}, what)).files
        return [Listed(f"{below}/{one.path}" if below else one.path, one.is_dir, one.file_size) for one in found]

    @asynccontextmanager
    async def download(
        self, app: str, model: Model, version: ModelVersion, path: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The content of one file of a version."""
        query = {"name": version.name, "version": version.version, "path": path}
        what = f"{path} of {version}"
        async with self._asked(app, model, "/model-versions/get-artifact", query, _OF_A_FILE) as response:
            if response.status_code != 200:
                raise fault_of(response.status_code, await _content(response, model), model, what)
            yield response.aiter_bytes(256 * 1024)

    async def _json(self, kind: type[T], app: str, model: Model, path: str, query: Mapping[str, str], what: str) -> T:
        async with self._asked(app, model, path, query) as response:
            content = await _content(response, model)
        if response.status_code != 200:
            raise fault_of(response.status_code, content, model, what)
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise strange(model, plain(exc) if isinstance(exc, msgspec.DecodeError) else "not UTF-8") from exc

    @asynccontextmanager
    async def _asked(
        self, app: str, model: Model, path: str, query: Mapping[str, str], timeout: httpx.Timeout = _TIMEOUT
    ) -> AsyncIterator[httpx.Response]:
        secure = model.registry.startswith("https:")  # else no certificates are loaded, which takes 25 ms
        if (client := self._clients.get(secure)) is None:
            client = httpx.AsyncClient(verify=secure, headers={"User-Agent": "deployd"})
            self._clients[secure] = client
        auth, headers = _login(app, model)
        try:
            async with client.stream(
                "GET", f"{model.registry}{path}", params=dict(query), auth=auth, headers=headers, timeout=timeout
            ) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            what = f"the model registry {model.registry} does not answer: {str(exc) or type(exc).__name__}"
            raise Unavailable(what, hint="see whether MLflow runs there, and app.model.registry") from exc


def _login(app: str, model: Model) -> tuple[httpx.BasicAuth | None, Mapping[str, str]]:
    key = f"app.{app}.model"
    if model.username is not None and model.password is not None:
        return httpx.BasicAuth(model.username, read_secret(model.password, f"{key}.password")), {}
    if model.token is not None:
        return None, {"Authorization": f"Bearer {read_token(model.token, f'{key}.token')}"}
    return None, {}


async def _content(response: httpx.Response, model: Model) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _LONGEST:
            raise strange(model, f"it answers more than {_LONGEST >> 20} MiB")
    return bytes(content)


def _version(model: Model, found: _Version) -> ModelVersion:
    if found.status != _READY:
        what = (
            f"version {found.version} of {model.name} in {model.registry} is not ready: {printable(found.status, 50)}"
        )
        raise Unavailable(what, hint="MLflow is still registering it, or has failed to")
    if found.name != model.name or not found.version.isdigit() or len(found.version) > 18:
        raise strange(model, "it answers with another model")
    return ModelVersion(found.name, found.version, printable(found.source, 500), found.creation_timestamp)


def _unreadable(model: Model, version: ModelVersion, uri: str) -> BuildFailed:
    what = f"the files of {version} are at {printable(uri, 200)}, which {model.registry} does not hand out"
    hint = "let the MLflow server serve artifacts (its default, --serve-artifacts), and log the model again"
    return BuildFailed(what, hint=hint)
