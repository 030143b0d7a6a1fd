import pytest

from deployd.config.app import App
from deployd.delivery import Push
from deployd.forges.filters import follows, why_ignored
from tests.deliveries import AFTER, an_app


def ignored(ref: str, *apps: App) -> str:
    return why_ignored([(Push("github.com/acme/iris", ref, AFTER), apps)])


def test_an_app_follows_its_branch() -> None:
    assert follows(an_app(), "refs/heads/main")
    assert follows(an_app(branch="release/*"), "refs/heads/release/1.2")
    assert follows(an_app(branch="Größe/模型"), "refs/heads/Größe/模型")


def test_an_app_follows_the_tags_that_match_its_pattern() -> None:
    assert follows(an_app(tag="v*"), "refs/tags/v1.2")


def test_an_app_does_not_follow_another_branch() -> None:
    assert not follows(an_app(), "refs/heads/feature/x")
    assert ignored("refs/heads/feature/x", an_app()) == "branch feature/x is not what iris follows (branch main)"


def test_a_tag_named_like_the_branch_is_not_the_branch() -> None:
    assert not follows(an_app(), "refs/tags/main")
    assert ignored("refs/tags/main", an_app()) == "tag main is not what iris follows (branch main)"
    assert not follows(an_app(tag="v*"), "refs/heads/v1")


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
def test_a_hostile_ref_is_ignored_with_one_printable_line(name: str) -> None:
    app = an_app(branch="**")
    assert not follows(app, f"refs/heads/{name}")
    reason = ignored(f"refs/heads/{name}", app)
    assert reason.isprintable()
    assert 0 < len(reason) < 400


@pytest.mark.parametrize("ref", ["", "-x", "main", "refs/notes/main", "refs/pull/1/head", "HEAD"])
def test_a_ref_that_is_neither_branch_nor_tag_is_not_followed(ref: str) -> None:
    assert not follows(an_app(branch="**"), ref)


def test_shell_characters_in_a_branch_name_do_no_harm() -> None:
    assert follows(an_app(branch="**"), "refs/heads/$(id);`x`|y&z'\"")


def test_a_push_to_an_unknown_repository_says_how_apps_are_matched() -> None:
    assert ignored("refs/heads/main").startswith("no app is configured for github.com/acme/iris; ")
    hostile = why_ignored([(Push("github.com/acme/\x1b[2J" + "x" * 1000, "refs/heads/main", AFTER), [])])
    assert hostile.isprintable()
    assert len(hostile) < 600


def test_a_push_that_several_apps_do_not_follow_is_ignored_with_the_reason_of_each() -> None:
    reason = ignored("refs/heads/x", an_app(), an_app("rose"))
    assert reason == (
        "iris: branch x is not what iris follows (branch main); rose: branch x is not what rose follows (branch main)"
    )


def test_the_reasons_for_many_refs_are_given_once_each_and_only_a_few() -> None:
    refs = ["refs/heads/a", "refs/heads/a", *(f"refs/heads/{number}" for number in range(20))]
    reason = why_ignored([(Push("github.com/acme/iris", ref, AFTER), [an_app()]) for ref in refs])
    assert reason.count("branch a is not what iris follows") == 1
    assert reason.count("; ") == 5
    assert reason.endswith("; and so on for 16 other refs")
