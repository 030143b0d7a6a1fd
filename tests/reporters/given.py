"""The config and the token of the tests of reporters."""

from typing import Any

from deployd.config.file import parse
from deployd.config.running import Running

TOKEN = "ghp_" + "0" * 36


def running(api_url: str, how: str = "deployments", **sections: Any) -> Running:
    """The config of one app, iris, in the repository acme/iris of the GitHub at `api_url`."""
    app = {"name": "iris", "repo": "https://127.0.0.1/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    github = {"api_url": api_url, "report": how, "token": "env:TOKEN"}
    server = {"base_url": "https://deployd.example.com/", "instance": "here"}
    return Running(parse({"app": [app | sections.pop("app", {})], "github": github, "server": server, **sections}))
