"""GitHub's documented limits, and what each error means for what is sent next."""

import time
from email.utils import formatdate

import pytest

from deployd.reporters.limits import fault_of, masked
from deployd.reporters.reporter import Later, Refused

ASKED = "POST /repos/acme/iris/deployments"


@pytest.mark.parametrize("status", [200, 201, 202, 304])
def test_no_error(status: int) -> None:
    assert fault_of(status, {}, "", ASKED) is None


@pytest.mark.parametrize(
    ("status", "headers", "said", "seconds", "limited"),
    [
        (429, {"retry-after": "30"}, "", 30.0, True),
        (403, {"retry-after": "30"}, "secondary rate limit", 30.0, True),
        (403, {}, "You have exceeded a secondary rate limit", None, True),
        (403, {}, "You have triggered an abuse detection mechanism", None, True),
        (429, {}, "", None, True),
        (429, {"retry-after": "soon"}, "", None, True),
        (429, {"retry-after": "999999"}, "", 7200.0, True),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0"}, "", 1.0, True),
        (403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded", None, True),
        (502, {}, "", None, False),
        (503, {"retry-after": "5"}, "", 5.0, False),
    ],
)
def test_limits_and_outages_are_retried_later(
    status: int, headers: dict[str, str], said: str, seconds: float | None, limited: bool
) -> None:
    fault = fault_of(status, headers, said, ASKED)
    assert isinstance(fault, Later)
    assert (fault.seconds, fault.limited) == (seconds, limited)


def test_a_spent_limit_lasts_until_its_reset() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 600)}
    fault = fault_of(403, headers, "API rate limit exceeded", ASKED)
    assert isinstance(fault, Later)
    assert fault.seconds == pytest.approx(600, abs=3)


def test_retry_after_may_be_a_time() -> None:
    fault = fault_of(429, {"retry-after": formatdate(time.time() + 90, usegmt=True)}, "", ASKED)
    assert isinstance(fault, Later)
    assert fault.seconds == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    ("status", "said", "everything", "forever"),
    [
        (401, "Bad credentials", True, False),
        (403, "Resource not accessible by personal access token", False, False),
        (404, "Not Found", False, False),
        (409, "Conflict", False, True),
        (422, "Validation Failed", False, True),
    ],
)
def test_faults_that_a_person_must_fix_are_refusals(status: int, said: str, *, everything: bool, forever: bool) -> None:
    fault = fault_of(status, {}, said, ASKED)
    assert isinstance(fault, Refused)
    assert (fault.everything, fault.forever) == (everything, forever)
    assert fault.message == f"GitHub answered {status} to {ASKED}: {said}"


@pytest.mark.parametrize(
    "token",
    [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_11ABCDEFG0123456789_abcdefghijklmnop",
        "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghs_12345_eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NSJ9.c2lnbmF0dXJl-_x",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NSJ9.c2lnbmF0dXJl-_x",
    ],
)
def test_no_form_of_a_token_is_shown(token: str) -> None:
    assert masked(f"Bearer {token}, refused") == "Bearer ***, refused"
