import pytest
from msgspec.structs import replace

from deployd.domain import Push
from deployd.forges.filters import refusal, why_ignored
from tests.deliveries import AFTER, BEFORE, an_app

PUSH = Push("acme/iris", "refs/heads/main", BEFORE, AFTER, paths=frozenset({"src/a.py"}))


def test_a_push_to_the_branch_that_is_followed_is_wanted() -> None:
    assert refusal(an_app(), PUSH) is None


def test_another_branch_is_not_what_the_app_follows() -> None:
    other = replace(PUSH, ref="refs/heads/feature/x")
    assert refusal(an_app(), other) == "branch feature/x is not what iris follows (branch main)"


def test_a_tag_named_like_the_branch_is_not_the_branch() -> None:
    assert refusal(an_app(), replace(PUSH, ref="refs/tags/main")) == "tag main is not what iris follows (branch main)"
    assert refusal(an_app(tag="v*"), replace(PUSH, ref="refs/heads/v1")) is not None


def test_a_tag_that_fits_the_pattern_is_wanted() -> None:
    assert refusal(an_app(tag="v*"), replace(PUSH, ref="refs/tags/v1.2", paths=None)) is None


def test_a_branch_that_fits_the_pattern_is_wanted() -> None:
    assert refusal(an_app(branch="release/*"), replace(PUSH, ref="refs/heads/release/1.2")) is None


def test_a_unicode_branch_is_a_branch() -> None:
    assert refusal(an_app(branch="Größe/模型"), replace(PUSH, ref="refs/heads/Größe/模型")) is None


@pytest.mark.parametrize(
    "name",
    [
        "-evil",
        "--upload-pack=touch x",
        "--upload-pack=x",
        "a b",
        "a\nb",
        "a\x00b",
        "a\x1b[2J",
        "a\x7f",
        "a\x85",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "main\u202e",
        "a\u2028b",
        "a\u2066b",
        "x" * 1001,
        "",
    ],
)
def test_a_hostile_ref_is_refused_in_one_printable_line(name: str) -> None:
    reason = refusal(an_app(branch="**"), replace(PUSH, ref=f"refs/heads/{name}"))
    assert reason is not None
    assert reason.isprintable()
    assert len(reason) < 400


@pytest.mark.parametrize("ref", ["", "-x", "main", "refs/notes/main", "refs/pull/1/head", "HEAD"])
def test_what_is_neither_branch_nor_tag_is_not_followed(ref: str) -> None:
    assert refusal(an_app(branch="**"), replace(PUSH, ref=ref)) is not None


def test_shell_signs_are_legal_in_a_branch_and_do_no_harm() -> None:
    assert refusal(an_app(branch="**"), replace(PUSH, ref="refs/heads/$(id);`x`|y&z'\"")) is None


def test_a_deleted_branch_leaves_what_runs() -> None:
    assert refusal(an_app(), replace(PUSH, deleted=True)) == "branch main was deleted; what runs stays"


def test_the_committer_can_ask_for_no_deploy() -> None:
    assert refusal(an_app(), replace(PUSH, skip="[skip ci]")) == "the head commit says [skip ci]"


def test_a_push_that_touches_nothing_of_the_app_is_not_wanted() -> None:
    app = an_app(paths=["**", "!docs/**"])
    docs = replace(PUSH, paths=frozenset({"docs/a.md"}))
    assert refusal(app, docs) == "nothing that iris is made from was touched (**, !docs/**)"
    assert refusal(app, replace(PUSH, paths=frozenset({"docs/a.md", "a.py"}))) is None


def test_when_it_is_unknown_what_is_touched_everything_is() -> None:
    assert refusal(an_app(paths=["src/**"]), replace(PUSH, paths=None)) is None


def test_an_app_without_a_filter_wants_a_push_that_touches_nothing() -> None:
    assert refusal(an_app(), replace(PUSH, paths=frozenset())) is None


def test_a_push_nobody_wants_is_ignored_with_one_reason() -> None:
    iris, rose = an_app(), an_app("rose")
    assert why_ignored(PUSH, []) == "no app is configured for acme/iris"
    assert why_ignored(PUSH, [(iris, "a"), (rose, "a")]) == "a"
    assert why_ignored(PUSH, [(iris, "a"), (rose, "b")]) == "iris: a; rose: b"
