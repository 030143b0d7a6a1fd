"""Webhook deliveries as GitHub sends them: a push of one's own making, signed by a signer that is not deployd's."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus

from githubkit.webhooks import sign

from deployd.config.app import App
from deployd.delivery import Delivery, Followed, Proposal

SECRET = "It's a Secret to Everybody"
ZEROS = "0" * 40
BEFORE = "1" * 40
AFTER = "2" * 40
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def an_app(name: str = "iris", repo: str = "https://github.com/acme/iris.git", **keys: Any) -> App:
    """An app that follows `main`, unless `keys` say otherwise."""
    follows = {} if "tag" in keys else {"branch": "main"}
    return App.model_validate({"name": name, "repo": repo, "gateway": {"listen": 8000}} | follows | keys)


async def taken(_delivery: Delivery, followed: Sequence[Followed]) -> Sequence[str]:
    """Takes every push, as a scheduler with a store would."""
    return [name for one in followed for name in one.apps]


async def proven(_delivery: Delivery, _shown: Proposal, apps: Sequence[str]) -> Sequence[str]:
    """Proves every commit of a pull request."""
    return apps


def a_pull_request(action: str = "opened", *, fork: str | None = "acme/iris", **changes: Any) -> dict[str, Any]:
    """The body of an event of pull request 7, from the branch `deeper` to `main`; None for a fork that is gone."""
    head = {"ref": "deeper", "sha": AFTER, "repo": None if fork is None else {"id": 2, "full_name": fork}}
    shown = {
        "number": 7,
        "title": "A deeper tree",
        "user": {"login": "ada"},
        "head": head,
        "base": {"ref": "main", "sha": BEFORE, "repo": {"id": 1, "full_name": "acme/iris"}},
    }
    return {
        "action": action,
        "number": 7,
        "pull_request": shown | changes,
        "repository": {"id": 1, "full_name": "Acme/Iris", "html_url": "https://github.com/Acme/Iris"},
    }


def a_commit(message: str = "Prune the tree", sha: str = AFTER, **files: list[str]) -> dict[str, Any]:
    """One commit of a push; `files` are added, removed, modified."""
    person = {"name": "Ada", "email": "ada@example.com", "username": "ada"}
    return {
        "id": sha,
        "tree_id": "3" * 40,
        "distinct": True,
        "message": message,
        "timestamp": "2026-01-01T12:00:00+01:00",
        "url": f"https://example.com/acme/iris/commit/{sha}",
        "author": person,
        "committer": person,
        "added": [],
        "removed": [],
        "modified": ["model_service/train.py"],
    } | files


def a_push(
    ref: str = "refs/heads/main", *, repository: str = "acme/iris", host: str = "github.com", **changes: Any
) -> dict[str, Any]:
    """The body of a push of one commit onto an existing branch, with `changes`."""
    commit = a_commit()
    return {
        "ref": ref,
        "before": BEFORE,
        "after": AFTER,
        "repository": {
            "id": 1,
            "full_name": repository,
            "html_url": f"https://{host}/{repository}",
            "clone_url": "https://evil.example.com/x.git",
            "created_at": 1557933565,
            "pushed_at": 1557933657,
            "default_branch": "main",
        },
        "pusher": {"name": "ada", "email": "ada@example.com"},
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": "https://example.com/acme/iris/compare/1...2",
        "commits": [commit],
        "head_commit": commit,
    } | changes


def a_deletion(ref: str = "refs/heads/main") -> dict[str, Any]:
    """The body of a push that deletes `ref`."""
    return a_push(ref, after=ZEROS, deleted=True, commits=[], head_commit=None)


def raw_of(body: Any, *, form: bool = False) -> bytes:
    """The bytes of `body` as GitHub would send them."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return f"payload={quote_plus(text)}".encode() if form else text.encode()


def headers_of(raw: bytes, event: str = "push", guid: str = GUID, *, form: bool = False) -> dict[str, str]:
    """The headers of a genuine delivery of `raw`."""
    return {
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature": sign(SECRET, raw, method="sha1"),
        "X-Hub-Signature-256": sign(SECRET, raw),
    }
