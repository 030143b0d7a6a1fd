import pytest

from deployd.config.globs import ref_matches, touches


@pytest.mark.parametrize(
    ("pattern", "ref", "matches"),
    [
        ("refs/heads/main", "refs/heads/main", True),
        ("refs/heads/main", "refs/heads/main2", False),
        ("refs/heads/main", "refs/tags/main", False),
        ("refs/heads/release/*", "refs/heads/release/1.2", True),
        ("refs/heads/release/*", "refs/heads/release/1/2", False),
        ("refs/heads/release/**", "refs/heads/release/1/2", True),
        ("refs/heads/*", "refs/heads/feature/x", False),
        ("refs/heads/**", "refs/heads/feature/x", True),
        ("refs/tags/v*", "refs/tags/v1.0", True),
        ("refs/tags/v*", "refs/heads/v1.0", False),
        ("refs/tags/v?.[0-9]", "refs/tags/v1.5", True),
        ("refs/tags/v?.[0-9]", "refs/tags/v1.x", False),
        ("refs/tags/v[!0]", "refs/tags/v0", False),
        ("refs/tags/v[!0]", "refs/tags/v1", True),
        ("refs/tags/v[!0]", "refs/tags/v/", False),
        ("refs/tags/v[z-a]", "refs/tags/v[z-a]", True),
        ("refs/heads/a.b", "refs/heads/axb", False),
        ("refs/heads/main", "refs/heads/main\n", False),
        ("refs/heads/*", "refs/heads/Größe", True),
    ],
)
def test_a_ref_is_followed_by_its_full_name_or_a_pattern(pattern: str, ref: str, matches: bool) -> None:
    assert ref_matches(pattern, ref) is matches


@pytest.mark.parametrize(
    ("patterns", "path", "counts"),
    [
        (["**"], "a/b/c.py", True),
        (["src/**"], "src/a/b.py", True),
        (["src/**"], "src", False),
        (["src/**"], "lib/src/a.py", False),
        (["/src"], "src/a.py", True),
        (["src"], "lib/src/a.py", True),
        (["src/"], "src/a.py", True),
        (["src/"], "src", False),
        (["*.md"], "docs/a.md", True),
        (["/*.md"], "docs/a.md", False),
        (["docs/*.md"], "docs/x/a.md", False),
        (["docs/**/a.md"], "docs/a.md", True),
        (["docs/**/a.md"], "docs/x/y/a.md", True),
        (["**/test"], "x/y/test/z.py", True),
        (["**", "!docs/**"], "docs/a.md", False),
        (["**", "!docs/**"], "src/a.py", True),
        (["!docs/**"], "src/a.py", True),
        (["!docs/**"], "docs/a.md", False),
        (["**", "!docs/**", "docs/api/**"], "docs/api/a.md", True),
        (["a+(b).py"], "a+(b).py", True),
        (["Größe/*"], "Größe/x", True),
        (["!docs/"], "docs/a.md", False),
        (["!docs/"], "src/docs/a.md", False),
        (["!/docs"], "src/docs/a.md", True),
        (["src/", "!src/docs/"], "src/docs/a.md", False),
        (["src/", "!src/docs/"], "src/a.py", True),
        (["/*"], "src/a.py", True),
        ([], "a", False),
    ],
)
def test_the_last_pattern_that_matches_a_path_decides(patterns: list[str], path: str, counts: bool) -> None:
    assert touches(patterns, [path]) is counts


def test_one_path_that_counts_is_enough() -> None:
    assert touches(["**", "!docs/**"], ["docs/a.md", "src/a.py"])
    assert not touches(["**", "!docs/**"], ["docs/a.md", "docs/b.md"])
    assert not touches(["**"], [])
