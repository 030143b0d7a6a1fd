import copy
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.delivery import Delivery, Ignored, Ping, Push
from deployd.errors import DeliveryRejected
from deployd.forges.github import GitHub
from tests.deliveries import AFTER, SECRET, ZEROS, a_deletion, a_push, headers_of, raw_of
from tests.forges.changes import change_one

RAW = b"Hello, World!"
# The example that GitHub's documentation gives.
PUBLISHED = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
SIGNED = {b"x-hub-signature-256": PUBLISHED}
REQUIRED = ("ref", "after", "deleted", "head_commit", "repository")
GITHUB = GitHub([SECRET.encode()])


def pushed(**changes: Any) -> Push:
    found = GITHUB.parse("push", raw_of(a_push(**changes)))
    assert isinstance(found, Push)
    return found


def test_the_published_example_is_genuine() -> None:
    assert GitHub([SECRET.encode()]).verify(RAW, SIGNED)


@given(st.binary(max_size=300), st.text(min_size=1, max_size=40))
@pytest.mark.slow
def test_a_delivery_signed_by_an_independent_signer_is_genuine(raw: bytes, secret: str) -> None:
    headers = {b"x-hub-signature-256": headers_of(raw)["X-Hub-Signature-256"].encode()}
    assert GitHub([SECRET.encode()]).verify(raw, headers)
    assert GitHub([secret.encode()]).verify(raw, headers) is (secret == SECRET)
    assert not GitHub([SECRET.encode()]).verify(raw + b" ", headers)


def test_every_configured_secret_is_accepted() -> None:
    assert GitHub([b"new", SECRET.encode()]).verify(RAW, SIGNED)
    assert GitHub([SECRET.encode(), b"new"]).verify(RAW, SIGNED)
    assert not GitHub([b"new", b"newer"]).verify(RAW, SIGNED)


def test_without_a_secret_or_with_an_empty_one_nothing_is_genuine() -> None:
    empty = b"sha256=" + hmac.new(b"", RAW, hashlib.sha256).hexdigest().encode()
    assert not GitHub([]).verify(RAW, {b"x-hub-signature-256": empty})
    assert not GitHub([b""]).verify(RAW, {b"x-hub-signature-256": empty})


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"sha256=",
        PUBLISHED[:-1],
        PUBLISHED + b"0",
        PUBLISHED.upper(),
        b"sha256=" + PUBLISHED[7:].upper(),
        PUBLISHED[7:],
        b" " + PUBLISHED,
        PUBLISHED + b" ",
        PUBLISHED + b"\n",
        b"sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
        b"sha512=" + PUBLISHED[7:],
        PUBLISHED + b", " + PUBLISHED,
        b"sha256=" + b"\xff" * 64,
        b"sha256=" + "é".encode() * 32,
        b"sha256=" + b"g" * 64,
        b"sha256=" + b"0" * 64,
    ],
)
def test_a_signature_of_any_other_form_is_not_genuine(signature: bytes) -> None:
    assert not GitHub([SECRET.encode()]).verify(RAW, {b"x-hub-signature-256": signature})


def test_sha1_alone_is_not_genuine() -> None:
    sha1 = b"sha1=" + hmac.new(SECRET.encode(), RAW, hashlib.sha1).hexdigest().encode()
    assert not GitHub([SECRET.encode()]).verify(RAW, {b"x-hub-signature": sha1})


def test_a_delivery_has_its_guid_and_event() -> None:
    headers = {b"x-github-event": b"push", b"x-github-delivery": b"72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    assert GITHUB.delivery(headers) == Delivery("github", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "push")


@pytest.mark.parametrize("value", [None, b"", b"a b", b"a\nb", b"x" * 101, "ü".encode(), b"a, b", b"../x", b"-x"])
@pytest.mark.parametrize("name", [b"x-github-event", b"x-github-delivery"])
def test_a_delivery_without_a_valid_guid_and_event_is_malformed(name: bytes, value: bytes | None) -> None:
    headers = {b"x-github-event": b"push", b"x-github-delivery": b"72d3162e"}
    headers.pop(name)
    if value is not None:
        headers[name] = value
    with pytest.raises(DeliveryRejected) as refused:
        GITHUB.delivery(headers)
    assert refused.value.status == 400


def test_a_push_has_repository_ref_and_commit() -> None:
    assert pushed() == Push("github.com/acme/iris", "refs/heads/main", AFTER)


@pytest.mark.parametrize(
    ("host", "repository", "name"),
    [
        ("github.com", "Acme/Iris", "github.com/acme/iris"),
        ("GitHub.example.com:8443", "acme/iris", "github.example.com/acme/iris"),
    ],
)
def test_a_repository_is_identified_by_host_and_full_name(host: str, repository: str, name: str) -> None:
    assert pushed(host=host, repository=repository).repository == name


def test_a_deletion_is_recognised_by_its_flag_or_by_zeros() -> None:
    found = GITHUB.parse("push", raw_of(a_deletion()))
    assert isinstance(found, Push)
    assert found.deleted
    assert pushed(after=ZEROS, deleted=False, head_commit=None, commits=[]).deleted
    assert pushed(deleted=True).deleted


def test_the_push_of_a_tag_has_the_commit_of_the_tag() -> None:
    # For an annotated tag `after` is the tag object.
    found = pushed(ref="refs/tags/v1", after="e" * 40, created=True, before=ZEROS, commits=[])
    assert (found.commit, found.ref) == (AFTER, "refs/tags/v1")
    assert pushed(ref="refs/tags/v1", after="e" * 40, head_commit=None).commit == "e" * 40
    assert pushed(after="e" * 40).commit == "e" * 40


def test_a_commit_may_be_a_sha256() -> None:
    assert pushed(after="a" * 64).commit == "a" * 64


def test_only_the_keys_that_are_read_are_required() -> None:
    body = a_push()
    read = {name: body[name] for name in REQUIRED}
    assert GITHUB.parse("push", raw_of(read)) == pushed()


def test_a_ping_is_recognised() -> None:
    assert GITHUB.parse("ping", raw_of({"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}})) == Ping()


@pytest.mark.parametrize("event", ["create", "delete", "pull_request", "workflow_run", "not_yet_invented"])
def test_any_other_event_is_ignored_with_its_name(event: str) -> None:
    assert GITHUB.parse(event, b"{}") == Ignored(f"event {event} does not deploy")


def malformed(event: str, raw: bytes) -> None:
    with pytest.raises(DeliveryRejected) as refused:
        GITHUB.parse(event, raw)
    assert refused.value.status == 400
    assert refused.value.message.startswith(f"the body does not look like a {event} event: ")


def test_a_body_of_another_event_is_malformed() -> None:
    malformed("ping", raw_of(a_push()))
    malformed("push", raw_of({"zen": "x", "hook_id": 1, "hook": {}, "repository": {"full_name": "acme/iris"}}))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_push_without_a_required_key_is_malformed(name: str) -> None:
    body = a_push()
    del body[name]
    malformed("push", raw_of(body))


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, 1, 1.5, True, "x", [], {}, [1], [None], {"full_name": None}, [[]]])
def test_a_push_with_a_value_of_the_wrong_type_is_malformed_or_read_as_it_is(name: str, value: Any) -> None:
    fits = {
        "ref": (str,),
        "deleted": (bool,),
        "head_commit": (None,),
    }
    body = a_push() | {name: value}
    if any(value == fit or (isinstance(fit, type) and type(value) is fit) for fit in fits.get(name, ())):
        assert isinstance(GITHUB.parse("push", raw_of(body)), Push)
    else:
        malformed("push", raw_of(body))


@pytest.mark.parametrize(
    "sha", ["", "0" * 39, "0" * 41, "g" * 40, "A" * 40, "a" * 40 + "\n", "--upload-pack=x", "HEAD"]
)
def test_an_invalid_commit_is_malformed(sha: str) -> None:
    malformed("push", raw_of(a_push(after=sha)))
    malformed("push", raw_of(a_push(head_commit={"id": sha})))


@pytest.mark.parametrize("name", ["", "iris", "/iris", "acme/", "a/b/c", "acme/ir is", "acme/iris\n", "x" * 300])
def test_an_invalid_repository_name_is_malformed(name: str) -> None:
    malformed("push", raw_of(a_push(repository=name)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1} x',
        b"[]",
        b"null",
        b'"text"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b"[" * 1_000_000,
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1 /* b */}',
    ],
)
@pytest.mark.parametrize("event", ["push", "ping", "star"])
def test_a_body_that_is_not_a_json_object_is_malformed_for_every_event(event: str, raw: bytes) -> None:
    malformed(event, raw)


@pytest.mark.parametrize("value", [b"NaN", b"1e999", b"9" * 5000, b'"\xff"', b'"\\ud800"', b"[" * 5000 + b"]" * 5000])
@pytest.mark.parametrize("name", ["ref", "after"])
def test_a_value_that_is_read_must_be_valid(name: str, value: bytes) -> None:
    malformed("push", raw_of(a_push(**{name: "here"})).replace(b'"here"', value))


def test_a_duplicate_key_does_no_harm() -> None:
    raw = raw_of(a_push()).replace(b'{"ref":', b'{"ref":"refs/heads/other","ref":')
    assert GITHUB.parse("push", raw) == pushed()


@given(st.binary(max_size=200) | st.text('{}[]":,\\ud80eE9.-NaInfty ', max_size=40).map(str.encode))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    status = 0
    try:
        GITHUB.parse("push", raw)
    except DeliveryRejected as exc:
        status = exc.status
    assert status == 400


@pytest.mark.parametrize("host", ["", "a b", "user@github.com", "[::1]", "github.com:x", "x" * 300, "github.com\n"])
def test_a_repository_on_no_host_is_malformed(host: str) -> None:
    malformed("push", raw_of(a_push(host=host)))


def test_our_own_path_comes_before_the_compatible_ones() -> None:
    assert tuple(GitHub.paths) == ("/webhooks/github", "/github_webhook", "/github-webhook")


@pytest.mark.slow
@given(st.data())
def test_no_change_of_any_field_breaks_the_parser(data: st.DataObject) -> None:
    body = copy.deepcopy(a_push())
    change_one(data, body)
    status = 0
    try:
        assert isinstance(GITHUB.parse("push", raw_of(body)), Push)
    except DeliveryRejected as exc:
        status = exc.status
    assert status in {0, 400}
