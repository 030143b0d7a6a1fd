import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.delivery import Delivery, Ignored, Push
from deployd.errors import DeliveryRejected
from deployd.forges.gitea import Gitea
from tests.deliveries import AFTER, BEFORE, GUID, SECRET, ZEROS, raw_of
from tests.forges.changes import change_one
from tests.forges.payloads import gitea_headers, gitea_push, lowered

GITEA = Gitea([SECRET.encode()])
RAW = raw_of(gitea_push())
NAME, ALIAS = "git.example.com/acme/iris", "ssh.example.com/acme/iris"


def pushed(ref: str = "refs/heads/main", **changes: Any) -> Push:
    found = GITEA.parse("push", raw_of(gitea_push(ref, **changes)))
    assert isinstance(found, Push)
    return found


@pytest.mark.parametrize("forgejo", [False, True])
def test_a_delivery_signed_as_by_gitea_or_forgejo_is_genuine(forgejo: bool) -> None:
    headers = lowered(gitea_headers(RAW, forgejo=forgejo))
    assert GITEA.verify(RAW, headers)
    assert Gitea([b"new", SECRET.encode()]).verify(RAW, headers)
    assert not Gitea([b"new"]).verify(RAW, headers)
    assert not GITEA.verify(RAW + b" ", headers)


def test_forgejos_own_headers_are_enough() -> None:
    headers = {name: value for name, value in lowered(gitea_headers(RAW, forgejo=True)).items() if b"forgejo" in name}
    assert GITEA.verify(RAW, headers)
    assert GITEA.delivery(headers) == Delivery("gitea", GUID, "push")


def test_the_empty_headers_of_a_webhook_without_a_secret_are_not_genuine() -> None:
    headers = lowered(gitea_headers(RAW, secret=""))
    assert headers[b"x-gitea-signature"] == b""
    for secrets in ([SECRET.encode()], [b""], []):
        assert not Gitea(secrets).verify(RAW, headers)
        assert not Gitea(secrets).verify(RAW, {})


def test_the_headers_of_github_and_gogs_alone_are_not_enough() -> None:
    headers = {name: value for name, value in lowered(gitea_headers(RAW)).items() if b"gitea" not in name}
    assert not GITEA.verify(RAW, headers)


def test_a_signature_with_a_prefix_or_twice_is_not_genuine() -> None:
    headers = lowered(gitea_headers(RAW))
    given = headers[b"x-gitea-signature"]
    for other in (b"sha256=" + given, given + b", " + given, given.upper(), given[:-1]):
        assert not GITEA.verify(RAW, headers | {b"x-gitea-signature": other})


def test_a_delivery_has_its_guid_and_event() -> None:
    assert GITEA.delivery(lowered(gitea_headers(RAW, "release"))) == Delivery("gitea", GUID, "release")


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 101, "ü".encode(), b"a, b", b"../x"])
@pytest.mark.parametrize("name", [b"x-gitea-event", b"x-gitea-delivery"])
def test_a_delivery_without_a_valid_guid_and_event_is_malformed(name: bytes, value: bytes) -> None:
    headers = lowered(gitea_headers(RAW))
    for wrong in (headers | {name: value}, {key: one for key, one in headers.items() if key != name}):
        with pytest.raises(DeliveryRejected) as refused:
            GITEA.delivery(wrong)
        assert refused.value.status == 400


def test_a_push_has_repository_ref_and_commit() -> None:
    assert pushed() == Push(NAME, "refs/heads/main", AFTER, aliases=(ALIAS,))
    assert pushed(repository="Acme/Iris").repository == "git.example.com/acme/iris"


def test_the_push_of_a_tag_has_the_commit_of_the_tag() -> None:
    assert (pushed("refs/tags/v1").ref, pushed("refs/tags/v1").commit) == ("refs/tags/v1", AFTER)
    assert pushed("refs/tags/v1", head_commit=None).commit == "e" * 40


def test_a_deletion_is_recognised_by_zeros() -> None:
    found = pushed("refs/tags/v1", before=BEFORE, after=ZEROS, head_commit=None)
    assert (found.commit, found.deleted) == (ZEROS, True)
    assert not pushed().deleted


def test_a_test_delivery_is_a_push() -> None:
    assert pushed(before=AFTER, after=AFTER) == pushed()


@pytest.mark.parametrize("event", ["create", "delete", "pull_request", "release", "not_yet_invented"])
def test_any_other_event_is_ignored_with_its_name(event: str) -> None:
    assert GITEA.parse(event, b'{"ref":"main"}') == Ignored(f"event {event} does not deploy")


def test_a_push_without_an_address_of_its_repository_is_ignored() -> None:
    body = gitea_push() | {"repository": {"html_url": "/acme/iris"}}
    assert GITEA.parse("push", raw_of(body)) == Ignored("the push does not say where its repository is")


@pytest.mark.parametrize("name", ["ref", "after", "repository"])
@pytest.mark.parametrize("value", [None, 1, True, [], {}, [{}]])
def test_a_push_with_a_value_of_another_form_is_malformed(name: str, value: Any) -> None:
    for body in (gitea_push() | {name: value}, {key: one for key, one in gitea_push().items() if key != name}):
        with pytest.raises(DeliveryRejected) as refused:
            GITEA.parse("push", raw_of(body))
        assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"payload=%7B%7D", b"[" * 100_000, b'{"a":"\\ud800"}'])
@pytest.mark.parametrize("event", ["push", "release"])
def test_a_body_that_is_not_a_json_object_is_malformed_for_every_event(event: str, raw: bytes) -> None:
    with pytest.raises(DeliveryRejected, match=f"^the body does not look like a {event} event: "):
        GITEA.parse(event, raw)


@pytest.mark.slow
@given(st.data())
def test_no_change_of_any_field_breaks_the_parser(data: st.DataObject) -> None:
    body = copy.deepcopy(gitea_push())
    change_one(data, body)
    try:
        found = GITEA.parse("push", json.dumps(body).encode())
    except DeliveryRejected as exc:
        assert exc.status == 400  # noqa: PT017 - either is fine here, if it is one of these
    else:
        assert isinstance(found, Push | Ignored)
