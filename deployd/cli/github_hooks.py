"""A repository's webhooks, through GitHub's API: make one, bring it up to date, redeliver what never arrived."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from deployd.errors import RequestRefused, Unavailable

_MOST_PAGES = 20  # of 100 deliveries: GitHub keeps three days of them
_SUCCESS = range(200, 400)


@dataclass(frozen=True, slots=True)
class LostDelivery:
    """The newest attempt of a delivery that never succeeded. A POST to `path` redelivers it."""

    guid: str
    event: str
    delivered_at: str
    status: str
    path: str


class Hooks:
    """The webhooks of `repository` (`owner/name`). Use as a context manager."""

    def __init__(self, api_url: str, token: str, repository: str) -> None:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._http = httpx.Client(base_url=api_url.rstrip("/"), headers=headers, timeout=30)
        self._repository = repository

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def install(self, url: str, secret: str) -> tuple[int, bool]:
        """Make the hook to `url`, or give an older one the secret and the settings; its id, and whether it is new."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        wanted = {"config": config, "events": ["push"], "active": True}
        if (found := self._find(url)) is not None:
            self._ask("PATCH", f"{self._hooks}/{found}", wanted)
            return found, False
        return int(self._ask("POST", self._hooks, {"name": "web", **wanted})["id"]), True

    def lost(self, url: str) -> list[LostDelivery]:
        """The deliveries to `url` that never succeeded, oldest first. RequestRefused when there is no such hook."""
        if (hook := self._find(url)) is None:
            raise RequestRefused(404, f"{self._repository} has no webhook to {url}", hint="deployd hook install APP")
        path = f"{self._hooks}/{hook}/deliveries"
        newest: dict[str, Mapping[str, Any]] = {}
        arrived: set[str] = set()
        for attempt in self._attempts(path):
            newest.setdefault(attempt["guid"], attempt)
            if attempt["status_code"] in _SUCCESS:
                arrived.add(attempt["guid"])
        lost = [attempt for guid, attempt in newest.items() if guid not in arrived]
        return [
            LostDelivery(one["guid"], one["event"], one["delivered_at"], one["status"], f"{path}/{one['id']}/attempts")
            for one in reversed(lost)
        ]

    def redeliver(self, delivery: LostDelivery) -> None:
        """Redeliver it; GitHub sends it with the same GUID."""
        self._ask("POST", delivery.path)

    @property
    def _hooks(self) -> str:
        return f"/repos/{self._repository}/hooks"

    def _find(self, url: str) -> int | None:
        hooks = self._ask("GET", f"{self._hooks}?per_page=100")
        return next((int(hook["id"]) for hook in hooks if hook.get("config", {}).get("url") == url), None)

    def _attempts(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Newest first, page by page. Of the address of the next page only the cursor is used, not the host."""
        following = f"{path}?per_page=100"
        for _ in range(_MOST_PAGES):
            response = self._send("GET", following)
            yield from response.json()
            cursor = httpx.URL(response.links.get("next", {}).get("url", "")).params.get("cursor")
            if cursor is None:
                return
            following = f"{path}?per_page=100&cursor={cursor}"

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        response = self._send(method, path, body)
        return response.json() if response.content else None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        with self._reaching():
            response = self._http.request(method, path, json=body)
        if response.status_code in {401, 403, 404}:
            raise RequestRefused(
                response.status_code,
                f"GitHub refuses this token the webhooks of {self._repository} ({response.status_code})",
                hint="it needs the permission `Webhooks: read and write` (classic: admin:repo_hook)",
            )
        if not response.is_success:
            raise Unavailable(f"GitHub answered {response.status_code} to {method} {path}", hint=response.text[:300])
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as exc:
            raise Unavailable(
                f"GitHub at {self._http.base_url} does not answer: {str(exc) or type(exc).__name__}"
            ) from exc
