"""Which ref is the head of an app, and what becomes of it: tables."""

import pytest

from deployd.config.app import App
from deployd.goal import Goal, Head, Known, ModelVersion, Skip, Wait
from deployd.order.decide import Seen, decide, head_of, is_lower, needs_commit, needs_diff, why_no_head
from tests.desk import REPO
from tests.source.repositories import an_app

A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
HEAD = Head(MAIN, A)
KNOWN = Known(Goal(B), Goal(B), MAIN)
ONE, TWO = (ModelVersion("iris", number, f"models:/m-{number}", 1) for number in "12")


def _tagged(pattern: str) -> App:
    return an_app(REPO, tag=pattern)


def _tags(*names: str) -> dict[str, str]:
    """Refs of tags, each at a commit of its own."""
    return {f"refs/tags/{name}": str(at) * 40 for at, name in enumerate(names, 1)}


def test_the_head_of_an_app_that_follows_a_branch_is_that_branch() -> None:
    assert head_of(an_app(REPO), {MAIN: A}) == Head(MAIN, A)
    assert head_of(an_app(REPO), {}) is None


@pytest.mark.parametrize(
    ("pattern", "names", "head"),
    [
        ("v*", ["v1.9", "v1.10"], "v1.10"),
        ("v*", ["v1.10", "v1.9"], "v1.10"),
        ("v*", ["v2.0-rc1", "v2.0", "v1.0"], "v2.0"),
        ("v*", ["v2.0-rc1", "v1.0"], "v2.0-rc1"),
        ("v*", ["vnext", "v1.0"], "v1.0"),
        ("v*", ["vnext"], None),
        ("v*", ["v1.0", "v1.0.0"], "v1.0.0"),  # the same version: by name, so that the answer is always the same
        ("production", ["production"], "production"),
        ("iris-*", ["iris-1.0", "iris-2.0"], "iris-2.0"),
        ("v*", [], None),
    ],
)
def test_the_head_among_tags_is_the_highest_version(pattern: str, names: list[str], head: str | None) -> None:
    refs = _tags(*names)
    expected = None if head is None else Head(f"refs/tags/{head}", refs[f"refs/tags/{head}"])
    assert head_of(_tagged(pattern), refs) == expected
    assert head_of(_tagged(pattern), dict(reversed(refs.items()))) == expected


def test_why_there_is_no_head_is_said() -> None:
    assert why_no_head(an_app(REPO), {}) == "the remote has no refs/heads/main"
    assert why_no_head(_tagged("v*"), _tags("vx", "vnext")) == (
        "no ref that matches refs/tags/v* is a version: refs/tags/vnext, refs/tags/vx"
    )


@pytest.mark.parametrize(
    ("paths", "needed"), [(None, False), (["**"], False), (["src/"], True), (["**", "!docs/**"], True)]
)
def test_a_diff_is_needed_only_by_an_app_that_leaves_files_out(paths: list[str] | None, needed: bool) -> None:
    app = an_app(REPO) if paths is None else an_app(REPO, paths=paths)
    assert needs_diff(app) is needed


@pytest.mark.parametrize(
    ("paths", "changed", "reason"),
    [
        (None, {"docs/index.md"}, None),
        (None, set(), None),
        (["src/"], {"src/model.py"}, None),
        (["src/"], {"docs/index.md", "src/model.py"}, None),
        (["src/"], {"docs/index.md"}, "no file under paths changed (src/)"),
        (["src/", "Dockerfile"], {"docs/index.md"}, "no file under paths changed (src/, Dockerfile)"),
        (["src/"], set(), "no file under paths changed (src/)"),
        (["src/"], None, None),
        (["**", "!docs/**"], {"docs/index.md"}, "no file under paths changed (**, !docs/**)"),
        (["**", "!docs/**"], {"docs/index.md", "README.md"}, None),
    ],
)
def test_a_head_is_skipped_when_no_file_that_the_app_is_made_of_changed(
    paths: list[str] | None, changed: set[str] | None, reason: str | None
) -> None:
    app = an_app(REPO) if paths is None else an_app(REPO, paths=paths)
    assert decide(app, HEAD, KNOWN, Seen("Fix", changed)) == (HEAD if reason is None else Skip(reason))


@pytest.mark.parametrize("changed", [None, set(), {"src/model.py"}])
def test_a_mark_in_the_message_skips_a_head_whatever_changed(changed: set[str] | None) -> None:
    app = an_app(REPO, paths=["src/"])
    decision = decide(app, HEAD, KNOWN, Seen("Fix\n\nlater [skip ci]", changed))
    assert decision == Skip("the commit's message says [skip ci]")


@pytest.mark.parametrize(
    ("ref", "wanted_ref", "lower"),
    [
        ("refs/tags/v1.9", "refs/tags/v1.10", True),
        ("refs/tags/v1.10", "refs/tags/v1.9", False),
        ("refs/tags/v1.10", "refs/tags/v1.10", False),
        ("refs/tags/v2.0-rc1", "refs/tags/v2.0", True),
        ("refs/tags/v1.0", MAIN, False),
        (MAIN, "refs/tags/v1.0", False),
        ("refs/heads/v1.0", "refs/heads/v2.0", False),
        ("refs/tags/stable", "refs/tags/v2.0", False),
        ("refs/tags/v1.0", "refs/tags/stable", False),
    ],
)
def test_a_tag_that_is_lower_than_the_one_wanted_last_is_skipped(ref: str, wanted_ref: str, lower: bool) -> None:
    assert is_lower(ref, wanted_ref) is lower
    head = Head(ref, A)
    decision = decide(_tagged("v*"), head, Known(wanted=Goal(B), wanted_ref=wanted_ref), Seen("Fix"))
    reason = f"{ref} is a lower version than {wanted_ref}, which was wanted last"
    assert decision == (Skip(reason) if lower else head)


@pytest.mark.parametrize("wanted_ref", [None, "refs/tags/v2.0"])
def test_a_lower_tag_is_wanted_when_the_app_has_wanted_none_or_follows_other_tags_by_now(
    wanted_ref: str | None,
) -> None:
    head = Head("refs/tags/v1.9", A)
    assert decide(_tagged("v1.*"), head, Known(wanted_ref=wanted_ref), Seen("Fix")) == head


def test_the_reason_of_a_skip_holds_no_control_characters() -> None:
    skip = decide(an_app(REPO, paths=["src\x1b/"]), HEAD, Known(), Seen("Fix", {"docs"}))
    assert isinstance(skip, Skip)
    assert "\x1b" not in skip.reason


@pytest.mark.parametrize("wanted", [Goal(A), Goal(B), None])
def test_a_head_that_was_decided_upon_last_is_not_decided_upon_again(wanted: Goal | None) -> None:
    known = Known(Goal(A), wanted, MAIN)
    assert decide(an_app(REPO), HEAD, known, Seen("Fix [skip ci]")) is None
    assert not needs_commit(HEAD, known)


def test_another_head_is_decided_upon_even_if_it_was_wanted_before() -> None:
    known = Known(Goal(B), Goal(A), MAIN)
    assert decide(an_app(REPO), HEAD, known, Seen("Fix")) == HEAD
    assert needs_commit(HEAD, known)


def test_a_new_version_of_the_model_is_deployed_with_the_same_commit_whatever_that_says() -> None:
    head, known = Head(MAIN, A, TWO), Known(Goal(A, ONE), Goal(A, ONE), MAIN)
    assert decide(an_app(REPO), head, known, Seen("Fix [skip ci]", not_green="lint failed")) == head
    assert not needs_commit(head, known)


@pytest.mark.parametrize(
    ("seen", "waited", "expected"),
    [
        ("", 0, HEAD),
        ("", 9999, HEAD),
        ("lint failed", 0, Wait("lint failed")),
        ("lint failed", 3599, Wait("lint failed")),
        ("lint failed", 3600, Skip("its checks were not green in time: lint failed")),
    ],
)
def test_a_head_waits_for_its_checks_as_long_as_the_app_says(
    seen: str, waited: float, expected: Head | Skip | Wait
) -> None:
    app = an_app(REPO, checks={"within": "1h"})
    assert decide(app, HEAD, KNOWN, Seen("Fix", not_green=seen, waited=waited)) == expected


@pytest.mark.parametrize(
    ("message", "not_green", "verdict"),
    [("Fix [skip ci]", "", Skip), ("Fix [skip ci]", "lint failed", Skip), ("Fix", "lint failed", Wait)],
)
def test_a_new_version_of_the_model_does_not_wait_for_a_commit_that_is_not_taken(
    message: str, not_green: str, verdict: type[Skip | Wait]
) -> None:
    seen, head = Seen(message, not_green=not_green), Head(MAIN, A, TWO)
    decision = decide(an_app(REPO), head, Known(Goal(B, ONE), Goal(C, ONE), "refs/heads/before"), seen)
    assert isinstance(decision, verdict)
    assert decision.instead == Head("refs/heads/before", C, TWO)
    decision = decide(an_app(REPO), head, Known(Goal(B, TWO), Goal(C, TWO), MAIN), seen)
    assert isinstance(decision, verdict)
    assert decision.instead is None
