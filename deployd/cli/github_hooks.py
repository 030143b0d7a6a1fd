"""A repository's webhooks, through GitHub's API: make one, bring it up to date, redeliver what never arrived."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from deployd.cli.forge_api import ForgeApi
from deployd.errors import RequestRefused

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


class GitHubHooks(ForgeApi):
    """The webhooks of `repository` (`owner/name`). Use as a context manager."""

    page: ClassVar[str] = "Settings > Webhooks > Add webhook"

    def __init__(self, api_url: str, token: str, repository: str) -> None:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        right = "the permission `Webhooks: read and write` (classic: admin:repo_hook)"
        super().__init__("GitHub", api_url, headers, repository, right)
        self._repository = repository
        self.events = ["push"]

    @staticmethod
    def form(url: str, secret: str) -> Mapping[str, str]:
        """The fields of the form for a new webhook."""
        return {
            "Payload URL": url,
            "Content type": "application/json",
            "Secret": secret,
            "SSL verification": "enabled",
            "Which events": "Just the push event",
            "Active": "yes",
        }

    def install(self, url: str, secret: str) -> tuple[int, bool]:
        """Make the hook to `url`, or give an older one the secret and the settings; its id, and whether it is new."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        wanted = {"config": config, "events": self.events, "active": True}
        if (found := self._find(url)) is not None:
            self.ask("PATCH", f"{self._hooks}/{found}", wanted)
            return found, False
        return int(self.ask("POST", self._hooks, {"name": "web", **wanted})["id"]), True

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
        self.ask("POST", delivery.path)

    @property
    def _hooks(self) -> str:
        return f"/repos/{self._repository}/hooks"

    def _find(self, url: str) -> int | None:
        hooks = self.ask("GET", f"{self._hooks}?per_page=100")
        return next((int(hook["id"]) for hook in hooks if hook.get("config", {}).get("url") == url), None)

    def _attempts(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Newest first, page by page. Of the address of the next page only the cursor is used, not the host."""
        following = f"{path}?per_page=100"
        for _ in range(_MOST_PAGES):
            response = self.send("GET", following)
            yield from response.json()
            cursor = httpx.URL(response.links.get("next", {}).get("url", "")).params.get("cursor")
            if cursor is None:
                return
            following = f"{path}?per_page=100&cursor={cursor}"
