"""Errors as `application/problem+json` (RFC 9457), for doors that write their own answers."""

import json
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = b"application/problem+json"

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail", "hint")}
    | {"status": {"type": "integer"}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": "A problem (RFC 9457)", "content": {PROBLEM_JSON.decode(): {"schema": _PROBLEM_SCHEMA}}}
    for code in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
}


def problem(status: int, detail: str, hint: str = "") -> bytes:
    """The body: type, title, status, detail, and what to do about it where that is known."""
    members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(members | ({"hint": hint} if hint else {}), separators=(",", ":")).encode()
