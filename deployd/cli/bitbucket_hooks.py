"""A repository's webhooks, through the APIs of Bitbucket Cloud and of Bitbucket Data Center: make one, or bring it up to date."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from deployd.cli.forge_api import ForgeApi

_CLOUD = "api.bitbucket.org"
_NAME = "deployd"


class BitbucketHooks(ForgeApi):
    """The webhooks of `repository`: `workspace/name` or `project/name`. Use as a context manager."""

    page: ClassVar[str] = "Repository settings > Webhooks > Add webhook (Data Center: Create webhook)"

    def __init__(self, api_url: str, token: str, repository: str) -> None:
        right = "the right to administer this repository and its webhooks"
        super().__init__("Bitbucket", api_url, {"Authorization": f"Bearer {token}"}, repository, right)
        owner, name = (
            quote(part, safe="~") for part in repository.split("/")[-2:]
        )  # over https a server has scm/ in front
        self._cloud = urlsplit(api_url).hostname == _CLOUD
        self._hooks = (
            f"/repositories/{owner}/{name}/hooks" if self._cloud else f"/projects/{owner}/repos/{name}/webhooks"
        )

    @staticmethod
    def form(url: str, secret: str) -> Mapping[str, str]:
        """The fields of the form for a new webhook."""
        return {
            "Title (Name)": _NAME,
            "URL": url,
            "Secret": secret,
            "SSL verification": "enabled",
            "Triggers (Events)": "Repository: Push",
            "Active": "yes",
        }

    def install(self, url: str, secret: str) -> tuple[str, bool]:
        """Make the hook to `url`, or give an older one the secret and the settings; its id, and whether it is new."""
        if self._cloud:
            wanted: dict[str, Any] = {"description": _NAME, "secret": secret, "events": ["repo:push"]}
            key, most = "uuid", "pagelen=100"
        else:
            wanted = {"name": _NAME, "configuration": {"secret": secret}, "events": ["repo:refs_changed"]}
            key, most = "id", "limit=100"
        wanted |= {"url": url, "active": True}
        hooks = self.ask("GET", f"{self._hooks}?{most}")["values"]
        found = next((str(hook[key]) for hook in hooks if hook.get("url") == url), None)
        if found is not None:
            self.ask("PUT", f"{self._hooks}/{quote(found, safe='')}", wanted)
            return found, False
        return str(self.ask("POST", self._hooks, wanted)[key]), True
