import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.delivery import Delivery, Ignored, Ping, Push, Pushes
from deployd.errors import DeliveryRejected
from deployd.forges.bitbucket import Bitbucket
from tests.deliveries import AFTER, BEFORE, GUID, SECRET, ZEROS, raw_of
from tests.forges.changes import change_one
from tests.forges.payloads import (
    bitbucket_headers,
    cloud_change,
    cloud_push,
    data_center_change,
    data_center_push,
    lowered,
)

BITBUCKET = Bitbucket([SECRET.encode()])
RAW = raw_of(cloud_push())
CLOUD = "bitbucket.org/acme/iris"
PING = "diagnostics:ping"
SERVER: dict[str, Any] = {
    "repository": "bitbucket.example.com/acme/iris",
    "aliases": ("bitbucket.example.com/scm/acme/iris",),
}


def pushed(event: str, body: Any) -> tuple[Push, ...]:
    found = BITBUCKET.parse(event, raw_of(body))
    assert isinstance(found, Pushes)
    return found.pushes


def test_a_delivery_signed_as_by_bitbucket_is_genuine() -> None:
    headers = lowered(bitbucket_headers(RAW))
    assert BITBUCKET.verify(RAW, headers)
    assert Bitbucket([b"new", SECRET.encode()]).verify(RAW, headers)
    assert not Bitbucket([b"new"]).verify(RAW, headers)
    assert not BITBUCKET.verify(RAW + b" ", headers)


@pytest.mark.parametrize("signature", [b"", b"sha256=", b"sha1=" + b"0" * 40, b"sha256=" + b"g" * 64])
def test_any_other_signature_is_not_genuine(signature: bytes) -> None:
    assert not BITBUCKET.verify(RAW, lowered(bitbucket_headers(RAW)) | {b"x-hub-signature": signature})
    assert not BITBUCKET.verify(RAW, lowered(bitbucket_headers(RAW, secret=None)))


def test_the_connection_test_of_data_center_needs_no_signature_but_a_right_one_if_it_has_one() -> None:
    raw = b'{"test":true}'
    unsigned = lowered(bitbucket_headers(raw, PING, secret=None))
    assert BITBUCKET.verify(raw, unsigned)
    assert not Bitbucket([]).verify(raw, unsigned)
    assert not Bitbucket([b""]).verify(raw, unsigned)
    assert BITBUCKET.verify(raw, lowered(bitbucket_headers(raw, PING)))
    assert not BITBUCKET.verify(raw, lowered(bitbucket_headers(raw, PING, secret="other")))


@pytest.mark.parametrize("raw", [b'{"test":true}', b"", RAW, b"[" * 100_000, b"\xff"])
def test_a_connection_test_is_answered_without_a_look_at_its_body(raw: bytes) -> None:
    assert BITBUCKET.parse(PING, raw) == Ping()


def test_a_delivery_has_its_guid_and_event() -> None:
    assert BITBUCKET.delivery(lowered(bitbucket_headers(RAW))) == Delivery("bitbucket", GUID, "repo:push")
    headers = lowered(bitbucket_headers(RAW, "repo:refs_changed"))
    assert BITBUCKET.delivery(headers) == Delivery("bitbucket", GUID, "repo:refs_changed")


@pytest.mark.parametrize("name", [b"x-event-key", b"x-request-uuid"])
@pytest.mark.parametrize("value", [None, b"", b"a b", b"x" * 101, b"a, b", b"../x"])
def test_a_delivery_without_a_valid_guid_and_event_is_malformed(name: bytes, value: bytes | None) -> None:
    headers = lowered(bitbucket_headers(RAW))
    headers.pop(name)
    with pytest.raises(DeliveryRejected) as refused:
        BITBUCKET.delivery(headers if value is None else headers | {name: value})
    assert refused.value.status == 400


def test_a_push_to_cloud_has_repository_ref_and_commit() -> None:
    assert pushed("repo:push", cloud_push()) == (Push(CLOUD, "refs/heads/main", AFTER),)


def test_every_ref_of_a_push_to_cloud_counts() -> None:
    body = cloud_push(
        cloud_change("dev"),
        cloud_change("v1", "tag", was=None),
        cloud_change("main", now=None),
        cloud_change("v0", "tag", now=None),
    )
    assert pushed("repo:push", body) == (
        Push(CLOUD, "refs/heads/dev", AFTER),
        Push(CLOUD, "refs/tags/v1", AFTER),
        Push(CLOUD, "refs/heads/main", ZEROS, deleted=True),
        Push(CLOUD, "refs/tags/v0", ZEROS, deleted=True),
    )


def test_a_closed_branch_that_is_still_there_is_not_deleted() -> None:
    assert pushed("repo:push", cloud_push(cloud_change("main") | {"closed": True})) == pushed("repo:push", cloud_push())


@pytest.mark.parametrize("changes", [[{"new": None, "old": None}], [{}], [cloud_change("default", "named_branch")]])
def test_a_push_that_moves_no_branch_and_no_tag_is_ignored(changes: list[dict[str, Any]]) -> None:
    moved = Ignored("the push changed no branch and no tag")
    assert BITBUCKET.parse("repo:push", raw_of(cloud_push(*changes))) == moved
    assert BITBUCKET.parse("repo:refs_changed", raw_of(data_center_push() | {"changes": []})) == moved


@pytest.mark.parametrize("event", ["repo:refs_changed", "mirror:repo_synchronized"])
def test_a_push_to_data_center_has_the_names_of_both_addresses(event: str) -> None:
    assert pushed(event, data_center_push(event=event)) == (Push(ref="refs/heads/main", commit=AFTER, **SERVER),)


def test_every_ref_of_a_push_to_data_center_counts() -> None:
    changes = data_center_change("refs/tags/v1"), data_center_change("refs/heads/feature/x", ZEROS)
    assert pushed("repo:refs_changed", data_center_push(*changes)) == (
        Push(ref="refs/tags/v1", commit=AFTER, **SERVER),
        Push(ref="refs/heads/feature/x", commit=ZEROS, deleted=True, **SERVER),
    )


def test_the_repository_of_a_person_keeps_its_tilde() -> None:
    body = data_center_push()
    body["repository"]["links"]["clone"] = [{"href": "https://bitbucket.example.com/scm/~Ada/iris.git"}]
    assert pushed("repo:refs_changed", body)[0].repository == "bitbucket.example.com/scm/~ada/iris"


@pytest.mark.parametrize(
    "repository", [{}, {"links": {}}, {"links": {"clone": []}}, {"links": {"clone": [{"href": "x"}]}}]
)
def test_a_push_without_an_address_of_its_repository_is_ignored(repository: dict[str, Any]) -> None:
    body = data_center_push() | {"repository": repository}
    found = BITBUCKET.parse("repo:refs_changed", raw_of(body))
    assert found == Ignored("the push does not say where its repository is")


@pytest.mark.parametrize("event", ["pullrequest:created", "pr:comment:added", "repo:fork", "not:yet_invented"])
def test_any_other_event_is_ignored_with_its_name(event: str) -> None:
    assert BITBUCKET.parse(event, b"{}") == Ignored(f"event {event} does not deploy")


@pytest.mark.parametrize("sha", ["", "0" * 39, "A" * 40, "--upload-pack=x", BEFORE + "\n"])
def test_an_invalid_commit_is_malformed(sha: str) -> None:
    for event, body in (
        ("repo:push", cloud_push(cloud_change("main", now=sha))),
        ("repo:refs_changed", data_center_push(data_center_change(to=sha))),
    ):
        with pytest.raises(DeliveryRejected) as refused:
            BITBUCKET.parse(event, raw_of(body))
        assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}"])
@pytest.mark.parametrize("event", ["repo:push", "repo:refs_changed", "pr:opened"])
def test_a_body_that_is_not_a_json_object_is_malformed_for_every_event(event: str, raw: bytes) -> None:
    with pytest.raises(DeliveryRejected, match=f"^the body does not look like a {event} event: "):
        BITBUCKET.parse(event, raw)


@pytest.mark.slow
@given(st.data(), st.sampled_from([("repo:push", cloud_push()), ("repo:refs_changed", data_center_push())]))
def test_no_change_of_any_field_breaks_the_parser(data: st.DataObject, sent: tuple[str, Any]) -> None:
    event, body = sent[0], copy.deepcopy(sent[1])
    change_one(data, body)
    try:
        found = BITBUCKET.parse(event, json.dumps(body).encode())
    except DeliveryRejected as exc:
        assert exc.status == 400  # noqa: PT017 - either is fine here, if it is one of these
    else:
        assert isinstance(found, Pushes | Ignored)
