"""Errors as `application/problem+json` (RFC 9457), for doors that write their own answers."""

import json
from http import HTTPStatus

PROBLEM_JSON = b"application/problem+json"


def problem(status: int, detail: str, hint: str = "") -> bytes:
    """The body: type, title, status, detail, and what to do about it where that is known."""
    members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(members | ({"hint": hint} if hint else {}), separators=(",", ":")).encode()
