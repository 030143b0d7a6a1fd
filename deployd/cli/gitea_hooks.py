"""A repository's webhooks, through the API that Gitea and Forgejo share: make one, or bring it up to date."""

from collections.abc import Mapping
from typing import ClassVar

from deployd.cli.forge_api import ForgeApi


class GiteaHooks(ForgeApi):
    """The webhooks of `repository` (`owner/name`). Use as a context manager."""

    page: ClassVar[str] = "Settings > Webhooks > Add webhook > Gitea (or Forgejo)"

    def __init__(self, api_url: str, token: str, repository: str) -> None:
        right = "the permission to read and write repositories, from someone who administers this one"
        super().__init__("Gitea", api_url, {"Authorization": f"token {token}"}, repository, right)
        self._hooks = f"/repos/{repository}/hooks"

    @staticmethod
    def form(url: str, secret: str) -> Mapping[str, str]:
        """The fields of the form for a new webhook."""
        return {
            "Target URL": url,
            "HTTP method": "POST",
            "POST content type": "application/json",
            "Secret": secret,
            "Trigger on": "Push events",
            "Branch filter": "*",
            "Active": "yes",
        }

    def install(self, url: str, secret: str) -> tuple[int, bool]:
        """Make the hook to `url`, or give an older one the secret and the settings; its id, and whether it is new."""
        config = {"url": url, "content_type": "json", "secret": secret}
        wanted = {"config": config, "events": ["push"], "branch_filter": "*", "active": True}
        hooks = self.ask("GET", f"{self._hooks}?limit=50")
        found = next((int(hook["id"]) for hook in hooks if hook.get("config", {}).get("url") == url), None)
        if found is not None:
            self.ask("PATCH", f"{self._hooks}/{found}", wanted)
            return found, False
        return int(self.ask("POST", self._hooks, {"type": "gitea", **wanted})["id"]), True
