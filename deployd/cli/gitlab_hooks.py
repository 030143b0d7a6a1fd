"""A project's webhooks, through GitLab's API: make one, or bring it up to date."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from deployd.cli.forge_api import ForgeApi
from deployd.errors import RequestRefused

_SIGNING_TOKEN = "whsec_"  # noqa: S105 - how such a token begins


class GitLabHooks(ForgeApi):
    """The webhooks of `repository` (its full path, with all groups). Use as a context manager."""

    page: ClassVar[str] = "Settings > Webhooks > Add new webhook"

    def __init__(self, api_url: str, token: str, repository: str) -> None:
        right = "the scope `api`, and the role Maintainer or Owner in the project"
        super().__init__("GitLab", api_url, {"PRIVATE-TOKEN": token}, repository, right)
        self._hooks = f"/projects/{quote(repository, safe='')}/hooks"

    @staticmethod
    def form(url: str, secret: str) -> Mapping[str, str]:
        """The fields of the form for a new webhook."""
        return {
            "URL": url,
            "Secret token": f"{secret}; in Signing token instead, if it begins with {_SIGNING_TOKEN}",
            "Trigger": "Push events (all branches) and Tag push events",
            "SSL verification": "enabled",
        }

    def install(self, url: str, secret: str) -> tuple[int, bool]:
        """Make the hook to `url`, or give an older one the secret and the settings; its id, and whether it is new."""
        signing = secret.startswith(_SIGNING_TOKEN)
        wanted: dict[str, Any] = {
            "url": url,
            "push_events": True,
            "tag_push_events": True,
            "enable_ssl_verification": True,
            "signing_token" if signing else "token": secret,
        }
        hooks = self.ask("GET", f"{self._hooks}?per_page=100")
        found = next((int(hook["id"]) for hook in hooks if hook.get("url") == url), None)
        path = self._hooks if found is None else f"{self._hooks}/{found}"
        made = self.ask("POST" if found is None else "PUT", path, wanted)
        if signing and not made.get("signing_token_present"):  # one that does not know the key ignores it
            hint = "put a secret token first in [gitlab] secrets: any long random text that does not begin with whsec_"
            raise RequestRefused(
                409, f"webhook {made['id']} does not sign: this GitLab has no signing tokens", hint=hint
            )
        return int(made["id"]), found is None
