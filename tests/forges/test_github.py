import copy
import hashlib
import hmac
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.domain import Delivery, Ignored, Ping, Push
from deployd.errors import DeliveryRejected
from deployd.forges import github
from tests.deliveries import AFTER, BEFORE, SECRET, ZEROS, a_commit, a_deletion, a_push, headers_of, raw_of

RAW = b"Hello, World!"
# The example that GitHub's documentation gives.
PUBLISHED = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
SIGNED = {b"x-hub-signature-256": PUBLISHED}
REQUIRED = ("ref", "before", "after", "created", "deleted", "forced", "commits", "head_commit", "repository")


def pushed(**changes: Any) -> Push:
    found = github.parse("push", raw_of(a_push(**changes)))
    assert isinstance(found, Push)
    return found


def test_the_published_example_is_genuine() -> None:
    assert github.verify(RAW, SIGNED, [SECRET.encode()])


@given(st.binary(max_size=300), st.text(min_size=1, max_size=40))
def test_what_the_independent_signer_signs_is_genuine(raw: bytes, secret: str) -> None:
    headers = {b"x-hub-signature-256": headers_of(raw)["X-Hub-Signature-256"].encode()}
    assert github.verify(raw, headers, [SECRET.encode()])
    assert github.verify(raw, headers, [secret.encode()]) is (secret == SECRET)
    assert not github.verify(raw + b" ", headers, [SECRET.encode()])


def test_every_secret_counts_while_they_are_rotated() -> None:
    assert github.verify(RAW, SIGNED, [b"new", SECRET.encode()])
    assert github.verify(RAW, SIGNED, [SECRET.encode(), b"new"])
    assert not github.verify(RAW, SIGNED, [b"new", b"newer"])


def test_without_a_secret_nothing_is_genuine() -> None:
    empty = b"sha256=" + hmac.new(b"", RAW, hashlib.sha256).hexdigest().encode()
    assert not github.verify(RAW, {b"x-hub-signature-256": empty}, [])


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
    assert not github.verify(RAW, {b"x-hub-signature-256": signature}, [SECRET.encode()])


def test_sha1_alone_is_not_genuine() -> None:
    sha1 = b"sha1=" + hmac.new(SECRET.encode(), RAW, hashlib.sha1).hexdigest().encode()
    assert not github.verify(RAW, {b"x-hub-signature": sha1}, [SECRET.encode()])


def test_a_delivery_has_its_guid_and_event() -> None:
    headers = {b"x-github-event": b"push", b"x-github-delivery": b"72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    assert github.delivery(headers) == Delivery("github", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "push")


@pytest.mark.parametrize("value", [None, b"", b"a b", b"a\nb", b"x" * 101, "ü".encode(), b"a, b", b"../x", b"-x"])
@pytest.mark.parametrize("name", [b"x-github-event", b"x-github-delivery"])
def test_a_delivery_without_a_sound_guid_and_event_is_malformed(name: bytes, value: bytes | None) -> None:
    headers = {b"x-github-event": b"push", b"x-github-delivery": b"72d3162e"}
    headers.pop(name)
    if value is not None:
        headers[name] = value
    with pytest.raises(DeliveryRejected) as refused:
        github.delivery(headers)
    assert refused.value.status == 400


def test_a_push_onto_an_existing_branch_says_what_it_touches() -> None:
    first = a_commit("First", "a" * 40, added=["a.py"], removed=["b.py"], modified=[])
    second = a_commit("Second\n\nWhy.", AFTER, modified=["c.py"])
    assert pushed(commits=[first, second], head_commit=second) == Push(
        repository="acme/iris",
        ref="refs/heads/main",
        before=BEFORE,
        after=AFTER,
        paths=frozenset({"a.py", "b.py", "c.py"}),
        subject="Second",
        author="Ada",
    )


def test_a_forced_push_touches_anything() -> None:
    assert pushed(forced=True).paths is None
    assert pushed(forced=True).forced


def test_a_new_branch_touches_anything() -> None:
    assert pushed(created=True, before=ZEROS).paths is None
    assert pushed(before=ZEROS).created


def test_a_push_that_lists_no_commit_touches_anything_unless_nothing_moved() -> None:
    assert pushed(commits=[]).paths is None
    assert pushed(commits=[], before=AFTER).paths == frozenset()


def test_past_the_limits_of_the_payload_anything_may_be_touched() -> None:
    commits = [a_commit()] * 2047
    assert pushed(commits=commits).paths is not None
    assert pushed(commits=[*commits, a_commit()]).paths is None
    files = [str(number) for number in range(2999)]
    assert pushed(commits=[a_commit(modified=files)]).paths == frozenset(files)
    assert pushed(commits=[a_commit(added=["x"], modified=files)]).paths is None


def test_a_deletion_is_known_by_its_flag_or_its_zeros() -> None:
    found = github.parse("push", raw_of(a_deletion()))
    assert isinstance(found, Push)
    assert found.deleted
    assert pushed(after=ZEROS, deleted=False, head_commit=None, commits=[]).deleted
    assert pushed(deleted=True).deleted


def test_a_tag_is_the_commit_that_it_leads_to() -> None:
    # For an annotated tag `after` is the tag object.
    found = pushed(ref="refs/tags/v1", after="e" * 40, created=True, before=ZEROS, commits=[])
    assert (found.after, found.ref) == (AFTER, "refs/tags/v1")


def test_a_commit_name_may_be_of_sha256() -> None:
    assert pushed(after="a" * 64).after == "a" * 64


@pytest.mark.parametrize(
    ("message", "skip"),
    [
        ("Fix", None),
        ("Fix [skip ci]", "[skip ci]"),
        ("Fix\n\nlater [ci skip] text", "[ci skip]"),
        ("[no ci] Fix", "[no ci]"),
        ("Fix [skip actions]", "[skip actions]"),
        ("Fix [actions skip]", "[actions skip]"),
        ("Fix [Skip CI]", "[Skip CI]"),
        ("Fix [skip deploy]", "[skip deploy]"),
        ("Fix skip ci", None),
        ("Fix [skip  ci]", None),
        ("Fix\n\n\nskip-checks: true", "skip-checks: true"),
        ("Fix\n\nBody\n\nSigned-off-by: A\nskip-checks:true\n", "skip-checks: true"),
        ("Fix\r\n\r\nskip-checks: true\r\n", "skip-checks: true"),
        ("Fix\n\nskip-checks: true\n\nmore text", None),
        ("Fix\n\nskip-checks: truely", None),
        ("skip-checks: true", None),
    ],
)
def test_the_head_commit_can_ask_not_to_be_deployed(message: str, skip: str | None) -> None:
    assert pushed(head_commit=a_commit(message)).skip == skip


def test_only_the_head_commit_can_ask_that() -> None:
    assert pushed(commits=[a_commit("Old [skip ci]", "a" * 40), a_commit()]).skip is None


def test_subject_and_author_are_one_short_printable_line() -> None:
    head = a_commit("\x1b[31mred\u202e" + "x" * 1000 + "\nmore")
    head["author"] = {"name": "A\r\nB" + "y" * 1000}
    found = pushed(head_commit=head)
    assert (found.subject + found.author).isprintable()
    assert (len(found.subject), len(found.author)) <= (220, 120)


def test_a_ping_is_a_ping() -> None:
    assert github.parse("ping", raw_of({"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}})) == Ping()


@pytest.mark.parametrize("event", ["create", "delete", "pull_request", "workflow_run", "not_yet_invented"])
def test_any_other_event_is_ignored_with_its_name(event: str) -> None:
    assert github.parse(event, b"{}") == Ignored(f"event {event} does not deploy")


def malformed(event: str, raw: bytes) -> None:
    for body, form in ((raw, False), (b"payload=" + quote_plus(raw).encode(), True)):
        with pytest.raises(DeliveryRejected) as refused:
            github.parse(event, body, form=form)
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
        "created": (bool,),
        "deleted": (bool,),
        "forced": (bool,),
        "commits": ([],),
        "head_commit": (None,),
    }
    body = a_push() | {name: value}
    if any(value == fit or (isinstance(fit, type) and type(value) is fit) for fit in fits.get(name, ())):
        assert isinstance(github.parse("push", raw_of(body)), Push)
    else:
        malformed("push", raw_of(body))


@pytest.mark.parametrize(
    "sha", ["", "0" * 39, "0" * 41, "g" * 40, "A" * 40, "a" * 40 + "\n", "--upload-pack=x", "HEAD"]
)
@pytest.mark.parametrize("name", ["before", "after"])
def test_a_commit_name_that_is_none_is_malformed(name: str, sha: str) -> None:
    malformed("push", raw_of(a_push(**{name: sha})))


@pytest.mark.parametrize("name", ["", "iris", "/iris", "acme/", "a/b/c", "acme/ir is", "acme/iris\n", "x" * 300])
def test_a_repository_that_is_none_is_malformed(name: str) -> None:
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
def test_what_is_no_json_object_is_malformed_whatever_the_event(event: str, raw: bytes) -> None:
    malformed(event, raw)


@pytest.mark.parametrize("value", [b"NaN", b"1e999", b"9" * 5000, b'"\xff"', b'"\\ud800"', b"[" * 5000 + b"]" * 5000])
@pytest.mark.parametrize("name", ["ref", "after"])
def test_a_value_that_is_read_must_be_sound(name: str, value: bytes) -> None:
    malformed("push", raw_of(a_push(**{name: "here"})).replace(b'"here"', value))


def test_a_key_that_is_there_twice_is_no_harm() -> None:
    raw = raw_of(a_push()).replace(b'{"ref":', b'{"ref":"refs/heads/other","ref":')
    assert github.parse("push", raw) == pushed()


def test_a_form_says_the_same_as_json() -> None:
    assert github.parse("push", raw_of(a_push(), form=True), form=True) == pushed()


@given(st.binary(max_size=200) | st.text('{}[]":,\\ud80eE9.-NaInfty ', max_size=40).map(str.encode), st.booleans())
def test_no_bytes_break_the_reading(raw: bytes, form: bool) -> None:
    status = 0
    try:
        github.parse("push", raw, form=form)
    except DeliveryRejected as exc:
        status = exc.status
    assert status == 400


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "added", "x"]), inner),
    max_leaves=6,
)


@given(st.data())
def test_no_change_of_any_field_breaks_the_reading(data: st.DataObject) -> None:
    body = copy.deepcopy(a_push())
    at: Any = body
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans())):
            break
        at = at[key]
    at[key] = data.draw(_ANY)
    status = 0
    try:
        assert isinstance(github.parse("push", raw_of(body)), Push)
    except DeliveryRejected as exc:
        status = exc.status
    assert status in {0, 400}
