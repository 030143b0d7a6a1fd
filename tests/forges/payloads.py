"""What GitLab, Gitea, Forgejo and Bitbucket send: pushes of one's own making, in the forms that their documentation and their
sources give, and the headers that go with them."""

import base64
import hashlib
import hmac
import time
from typing import Any

from tests.deliveries import AFTER, BEFORE, GUID, SECRET, ZEROS

KEY = b"0123456789abcdef0123456789abcdef"
SIGNING_TOKEN = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_780_000_000.0


def gitlab_push(ref: str = "refs/heads/main", *, path: str = "acme/ml/iris", **changes: Any) -> dict[str, Any]:
    """A push of one commit; for a tag, `after` is that of its object."""
    tag = ref.startswith("refs/tags/")
    return {
        "object_kind": "tag_push" if tag else "push",
        "event_name": "tag_push" if tag else "push",
        "before": ZEROS if tag else BEFORE,
        "after": "e" * 40 if tag else AFTER,
        "ref": ref,
        "ref_protected": True,
        "checkout_sha": AFTER,
        "message": None,
        "user_id": 4,
        "user_username": "ada",
        "user_email": "",
        "project_id": 15,
        "project": {
            "id": 15,
            "name": "Iris",
            "description": None,
            "web_url": f"https://gitlab.example.com/{path}",
            "avatar_url": None,
            "git_ssh_url": f"git@ssh.example.com:{path}.git",
            "git_http_url": f"https://gitlab.example.com/{path}.git",
            "namespace": "ML",
            "path_with_namespace": path,
            "default_branch": "main",
        },
        "commits": []
        if tag
        else [{"id": AFTER, "message": "Prune", "added": [], "modified": ["train.py"], "removed": []}],
        "total_commits_count": 0 if tag else 1,
        "push_options": {"ci": {"skip": True}},
    } | changes


def gitlab_headers(event: str = "Push Hook", token: str | None = SECRET, key: str | None = GUID) -> dict[str, str]:
    """The headers of a delivery that carries its secret token."""
    found = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.2.0",
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": "c1a4ba5e-0000-4000-8000-000000000001",
        "X-Gitlab-Event-UUID": "c1a4ba5e-0000-4000-8000-000000000002",
        "X-Gitlab-Instance": "https://gitlab.example.com",
    }
    return found | ({"X-Gitlab-Token": token} if token else {}) | ({"Idempotency-Key": key} if key else {})


def gitlab_signed(
    raw: bytes, event: str = "Push Hook", *, key: bytes = KEY, at: float = NOW, guid: str = GUID
) -> dict[str, str]:
    """The headers of a delivery that is signed, in the way of Standard Webhooks."""
    signed = f"{guid}.{at:.0f}.".encode() + raw
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return gitlab_headers(event, token=None, key=guid) | {
        "webhook-id": guid,
        "webhook-timestamp": f"{at:.0f}",
        "webhook-signature": f"v1,{signature}",
    }


def gitea_push(ref: str = "refs/heads/main", *, repository: str = "acme/iris", **changes: Any) -> dict[str, Any]:
    """A push of one commit; for a tag, `after` is that of its object, and there are no commits."""
    tag = ref.startswith("refs/tags/")
    commit = {"id": AFTER, "message": "Prune\n", "timestamp": "2026-01-01T12:00:00+01:00", "verification": None}
    return {
        "ref": ref,
        "before": ZEROS if tag else BEFORE,
        "after": "e" * 40 if tag else AFTER,
        "compare_url": f"https://git.example.com/{repository}/compare/1...2",
        "commits": [] if tag else [commit],
        "total_commits": 0 if tag else 1,
        "head_commit": commit,
        "repository": {
            "id": 1,
            "full_name": repository,
            "private": True,
            "html_url": f"https://git.example.com/{repository}",
            "ssh_url": f"ssh://git@ssh.example.com:2222/{repository}.git",
            "clone_url": f"https://git.example.com/{repository}.git",
            "parent": None,
            "default_branch": "main",
        },
        "pusher": {"id": 1, "login": "ada"},
        "sender": {"id": 1, "login": "ada"},
    } | changes


def gitea_headers(raw: bytes, event: str = "push", *, secret: str = SECRET, forgejo: bool = False) -> dict[str, str]:
    """The headers of a delivery; Forgejo sends its own beside those of Gitea."""
    digests = {name: hmac.new(secret.encode(), raw, name).hexdigest() if secret else "" for name in ("sha1", "sha256")}
    found = {
        "Content-Type": "application/json",
        "X-Hub-Signature": f"sha1={digests['sha1']}",
        "X-Hub-Signature-256": f"sha256={digests['sha256']}",
    }
    for prefix in ("GitHub", "Gitea", "Gogs", *(["Forgejo"] if forgejo else [])):
        found |= {f"X-{prefix}-Delivery": GUID, f"X-{prefix}-Event": event, f"X-{prefix}-Event-Type": event}
        if prefix != "GitHub":
            found[f"X-{prefix}-Signature"] = digests["sha256"]
    return found


def cloud_change(
    name: str | None, kind: str = "branch", *, now: str | None = AFTER, was: str | None = BEFORE
) -> dict[str, Any]:
    """One ref of a push to Bitbucket Cloud, as it is `now` and as it `was`; None for one that is not or was not there."""

    def state(commit: str | None) -> dict[str, Any] | None:
        target: dict[str, Any] = {"type": "commit", "hash": commit, "message": "Prune\n", "parents": []}
        return None if commit is None else {"type": kind, "name": name, "target": target, "links": {}}

    found = {"new": state(now), "old": state(was), "created": was is None, "closed": now is None}
    return found | {"forced": False, "truncated": False, "commits": []}


def cloud_push(*changes: dict[str, Any], repository: str = "Acme/iris") -> dict[str, Any]:
    """A push to Bitbucket Cloud, of `main` unless `changes` say otherwise."""
    return {
        "actor": {"type": "user", "nickname": "ada"},
        "repository": {
            "type": "repository",
            "full_name": repository,
            "name": "iris",
            "scm": "git",
            "website": None,
            "links": {"html": {"href": f"https://bitbucket.org/{repository}"}},
        },
        "push": {"changes": list(changes) or [cloud_change("main")]},
    }


def data_center_change(ref: str = "refs/heads/main", to: str = AFTER) -> dict[str, Any]:
    """One ref of a push to Bitbucket Data Center; ZEROS for one that was deleted."""
    kind = "TAG" if ref.startswith("refs/tags/") else "BRANCH"
    return {
        "ref": {"id": ref, "displayId": ref.split("/", 2)[-1], "type": kind},
        "refId": ref,
        "fromHash": BEFORE,
        "toHash": to,
        "type": "DELETE" if to == ZEROS else "UPDATE",
    }


def data_center_push(*changes: dict[str, Any], event: str = "repo:refs_changed") -> dict[str, Any]:
    """A push to Bitbucket Data Center, of `main` unless `changes` say otherwise."""
    host = "bitbucket.example.com"
    return {
        "eventKey": event,
        "date": "2026-09-19T09:45:32+1000",
        "actor": {"name": "ada", "id": 1, "active": True, "type": "NORMAL"},
        "repository": {
            "slug": "iris",
            "id": 84,
            "name": "iris",
            "scmId": "git",
            "project": {"key": "ACME", "id": 84, "type": "NORMAL"},
            "links": {
                "clone": [
                    {"href": f"ssh://git@{host}:7999/acme/iris.git", "name": "ssh"},
                    {"href": f"https://{host}/scm/acme/iris.git", "name": "http"},
                ],
                "self": [{"href": f"https://{host}/projects/ACME/repos/iris/browse"}],
            },
        },
        "changes": list(changes) or [data_center_change()],
    }


def bitbucket_headers(raw: bytes, event: str = "repo:push", *, secret: str | None = SECRET) -> dict[str, str]:
    """The headers of a delivery of Cloud or, for its events, of Data Center."""
    cloud = event == "repo:push"
    found = {
        "Content-Type": "application/json" if cloud else "application/json; charset=utf-8",
        "X-Event-Key": event,
        "X-Request-UUID" if cloud else "X-Request-Id": GUID,
    }
    if cloud:
        found |= {"X-Hook-UUID": "673a6070-3421-46c9-9d48-90745f7bfe8e", "X-Attempt-Number": "1"}
    digest = hmac.new((secret or "").encode(), raw, "sha256").hexdigest()
    return found | ({"X-Hub-Signature": f"sha256={digest}"} if secret else {})


def lowered(headers: dict[str, str]) -> dict[bytes, bytes]:
    """The headers as the door hands them over."""
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def mlflow_moved(name: str = "iris", alias: str = "champion") -> dict[str, Any]:
    """What MLflow 3.17 sends when an alias is set."""
    data = {"name": name, "alias": alias, "version": "1"}
    return {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-11-26T14:54:47.5+00:00",
        "data": data,
    }


def mlflow_headers(raw: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """The headers of a delivery of MLflow, signed as its code does it."""
    guid, moment = "51d7c354-3aa7-4f3f-8672-f176c2e3746f", str(int(time.time() if at is None else at))
    digest = hmac.digest(secret.encode(), f"{guid}.{moment}.".encode() + raw, "sha256")
    return {
        "Content-Type": "application/json",
        "X-MLflow-Delivery-Id": guid,
        "X-MLflow-Timestamp": moment,
        "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }
