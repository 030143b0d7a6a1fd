import copy
import json
import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.delivery import Delivery, Ignored, Push
from deployd.errors import ConfigError, DeliveryRejected
from deployd.forges.gitlab import GitLab
from tests.deliveries import AFTER, GUID, SECRET, ZEROS, raw_of
from tests.forges.changes import change_one
from tests.forges.payloads import KEY, NOW, SIGNING_TOKEN, gitlab_headers, gitlab_push, gitlab_signed, lowered

RAW = raw_of(gitlab_push())
ALIAS = "ssh.example.com/acme/ml/iris"


def gitlab(*secrets: str, now: float = NOW) -> GitLab:
    return GitLab([secret.encode() for secret in secrets], lambda: now)


GITLAB = gitlab(SECRET)


def pushed(ref: str = "refs/heads/main", event: str = "Push Hook", **changes: Any) -> Push:
    found = GITLAB.parse(event, raw_of(gitlab_push(ref, **changes)))
    assert isinstance(found, Push)
    return found


def test_a_secret_token_is_genuine_whatever_the_body_is() -> None:
    assert GITLAB.verify(RAW, lowered(gitlab_headers()))
    assert gitlab("old", SECRET).verify(RAW, lowered(gitlab_headers()))
    assert not gitlab("other").verify(RAW, lowered(gitlab_headers()))


@pytest.mark.parametrize("token", [None, "", SECRET[:-1], SECRET + "x", SECRET + " ", f"{SECRET}, {SECRET}", "é"])
def test_any_other_token_is_not_genuine(token: str | None) -> None:
    assert not GITLAB.verify(RAW, lowered(gitlab_headers(token=token)))


def test_without_a_secret_nothing_is_genuine() -> None:
    for one in (gitlab(), gitlab("")):
        assert not one.verify(RAW, lowered(gitlab_headers(token=None)))
        assert not one.verify(RAW, lowered(gitlab_headers() | {"X-Gitlab-Token": ""}))
        assert not one.verify(RAW, lowered(gitlab_signed(RAW)))


def test_the_published_example_of_standard_webhooks_is_genuine() -> None:
    headers = {
        b"webhook-id": b"msg_loFOjxBNrRLzqYUf",
        b"webhook-timestamp": b"1731705121",
        b"webhook-signature": b"v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    raw = b'{"event_type":"ping","data":{"success":true}}'
    assert gitlab("whsec_plJ3nmyCDGBKInavdOK15jsl", now=1731705121.5).verify(raw, headers)


def test_a_signature_vouches_for_body_moment_and_guid() -> None:
    headers = lowered(gitlab_signed(RAW))
    assert gitlab(SIGNING_TOKEN).verify(RAW, headers)
    assert gitlab(SECRET, SIGNING_TOKEN).verify(RAW, headers)
    assert not gitlab(SIGNING_TOKEN).verify(RAW + b" ", headers)
    for name, value in ((b"webhook-id", b"another"), (b"webhook-timestamp", b"%d" % (NOW + 1))):
        assert not gitlab(SIGNING_TOKEN).verify(RAW, headers | {name: value})
        assert not gitlab(SIGNING_TOKEN).verify(RAW, {key: given for key, given in headers.items() if key != name})
    assert not gitlab(SIGNING_TOKEN).verify(RAW, lowered(gitlab_signed(RAW, key=KEY[::-1])))


def test_one_of_several_signatures_is_enough() -> None:
    headers = lowered(gitlab_signed(RAW))
    other = lowered(gitlab_signed(RAW, key=KEY[::-1]))[b"webhook-signature"]
    both = other + b" " + headers[b"webhook-signature"]
    assert gitlab(SIGNING_TOKEN).verify(RAW, headers | {b"webhook-signature": both})


@pytest.mark.parametrize("late", [-301, 301, 10**9])
def test_an_old_signature_and_one_from_the_future_are_not_genuine(late: float) -> None:
    headers = lowered(gitlab_signed(RAW))
    assert gitlab(SIGNING_TOKEN, now=NOW + 299).verify(RAW, headers)
    assert gitlab(SIGNING_TOKEN, now=NOW - 299).verify(RAW, headers)
    assert not gitlab(SIGNING_TOKEN, now=NOW + late).verify(RAW, headers)


def test_the_present_moment_is_that_of_the_clock() -> None:
    one = GitLab([SIGNING_TOKEN.encode()])
    assert one.verify(RAW, lowered(gitlab_signed(RAW, at=time.time())))
    assert not one.verify(RAW, lowered(gitlab_signed(RAW, at=time.time() - 400)))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"v1,",
        b"v1,AAAA",
        b"v1a," + b"A" * 43 + b"=",
        b"v1," + b"A" * 44,
        b"v1," + b"\xff" * 43 + b"=",
        b"x" * 5000,
    ],
)
def test_a_signature_of_another_form_is_not_genuine_and_no_token_helps(signature: bytes) -> None:
    headers = lowered(gitlab_signed(RAW) | {"X-Gitlab-Token": SECRET}) | {b"webhook-signature": signature}
    assert not gitlab(SIGNING_TOKEN, SECRET).verify(RAW, headers)


def test_without_a_signing_token_in_the_config_the_secret_token_counts_beside_a_signature() -> None:
    headers = lowered(gitlab_signed(RAW) | {"X-Gitlab-Token": SECRET})
    assert GITLAB.verify(RAW, headers)
    assert not gitlab("other").verify(RAW, headers)


@pytest.mark.parametrize("token", ["whsec_", "whsec_not base64", "whsec_AAA"])
def test_a_broken_signing_token_is_an_error_of_the_config_that_does_not_show_it(token: str) -> None:
    with pytest.raises(ConfigError, match=r"^gitlab\.secrets: ") as refused:
        gitlab(token)
    assert token.removeprefix("whsec_") == "" or token.removeprefix("whsec_") not in str(refused.value)


def test_a_resent_delivery_has_the_guid_of_the_first() -> None:
    assert GITLAB.delivery(lowered(gitlab_headers())) == Delivery("gitlab", GUID, "Push Hook")
    assert GITLAB.delivery(lowered(gitlab_signed(RAW) | {"Idempotency-Key": "forged"})).guid == GUID


def test_an_old_gitlab_names_no_delivery_so_that_each_counts_as_a_new_one() -> None:
    # Its X-Gitlab-Event-UUID is handed on to the deliveries that another one has caused.
    found = {GITLAB.delivery(lowered(gitlab_headers(key=None))).guid for _ in range(3)}
    assert len(found) == 3
    assert all(uuid.UUID(guid) for guid in found)


@pytest.mark.parametrize("value", [None, b"", b"push\nhook", b"x" * 300, "ü".encode(), b"a, b", b"../x", b"-x"])
@pytest.mark.parametrize("name", [b"x-gitlab-event", b"idempotency-key"])
def test_a_delivery_without_a_valid_guid_and_event_is_malformed(name: bytes, value: bytes | None) -> None:
    headers = lowered(gitlab_headers()) | {name: value or b""}
    with pytest.raises(DeliveryRejected) as refused:
        GITLAB.delivery(headers)
    assert refused.value.status == 400


def test_a_push_has_the_names_of_its_repository_with_all_groups() -> None:
    assert pushed() == Push("gitlab.example.com/acme/ml/iris", "refs/heads/main", AFTER, aliases=(ALIAS,))
    assert pushed(path="Acme/A/B/C/Iris").repository == "gitlab.example.com/acme/a/b/c/iris"


def test_the_push_of_a_tag_has_the_commit_of_the_tag() -> None:
    found = pushed("refs/tags/v1", "Tag Push Hook")
    assert (found.ref, found.commit, found.deleted) == ("refs/tags/v1", AFTER, False)
    assert pushed("refs/tags/v1", "Tag Push Hook", checkout_sha=None).commit == "e" * 40


@pytest.mark.parametrize(("ref", "event"), [("refs/heads/main", "Push Hook"), ("refs/tags/v1", "Tag Push Hook")])
def test_a_deletion_is_recognised(ref: str, event: str) -> None:
    found = pushed(ref, event, after=ZEROS, checkout_sha=None, commits=[])
    assert (found.commit, found.deleted) == (ZEROS, True)


def test_a_push_of_a_system_hook_is_a_push() -> None:
    assert pushed(event="System Hook") == pushed()
    assert pushed("refs/tags/v1", "System Hook").ref == "refs/tags/v1"


@pytest.mark.parametrize(
    ("event", "body", "reason"),
    [
        ("Merge Request Hook", {"object_kind": "merge_request"}, "event Merge Request Hook does not deploy"),
        ("System Hook", {"event_name": "project_create"}, "event System Hook project_create does not deploy"),
        ("System Hook", {"event_name": "\x1b[2J"}, "event System Hook does not deploy"),
        ("System Hook", {}, "event System Hook does not deploy"),
        ("Not Yet Invented Hook", {}, "event Not Yet Invented Hook does not deploy"),
    ],
)
def test_any_other_event_is_ignored_with_its_name(event: str, body: dict[str, Any], reason: str) -> None:
    assert GITLAB.parse(event, raw_of(body)) == Ignored(reason)


def test_a_push_without_an_address_of_its_repository_is_ignored() -> None:
    body = gitlab_push(project={"web_url": "", "git_http_url": None})
    assert GITLAB.parse("Push Hook", raw_of(body)) == Ignored("the push does not say where its repository is")


@pytest.mark.parametrize("name", ["object_kind", "ref", "after", "project"])
@pytest.mark.parametrize("value", [None, 1, True, "x y", [], {}])
def test_a_push_with_a_value_of_another_form_is_malformed(name: str, value: Any) -> None:
    if name == "ref" and isinstance(value, str):
        return
    for body in (gitlab_push() | {name: value}, {key: one for key, one in gitlab_push().items() if key != name}):
        with pytest.raises(DeliveryRejected) as refused:
            GITLAB.parse("Push Hook", raw_of(body))
        assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}"])
@pytest.mark.parametrize("event", ["Push Hook", "System Hook", "Note Hook"])
def test_a_body_that_is_not_a_json_object_is_malformed_for_every_event(event: str, raw: bytes) -> None:
    with pytest.raises(DeliveryRejected, match=f"^the body does not look like a {event} event: "):
        GITLAB.parse(event, raw)


@pytest.mark.slow
@given(st.data(), st.sampled_from(["Push Hook", "Tag Push Hook", "System Hook"]))
def test_no_change_of_any_field_breaks_the_parser(data: st.DataObject, event: str) -> None:
    body = copy.deepcopy(gitlab_push())
    change_one(data, body)
    try:
        found = GITLAB.parse(event, json.dumps(body).encode())
    except DeliveryRejected as exc:
        assert exc.status == 400  # noqa: PT017 - either is fine here, if it is one of these
    else:
        assert isinstance(found, Push | Ignored)
