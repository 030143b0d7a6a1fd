import pytest

from deployd.targets.kubernetes.words import plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"exec: \"/bin/serve\": no such file", 'exec: "/bin/serve": no such file'),
        (r"run: \\\"a\\\" failed", 'run: "a" failed'),
        ("C:\\\\models\\\\iris", "C:\\models\\iris"),
        ("nothing to do", "nothing to do"),
        (None, ""),
    ],
)
def test_quotes_inside_of_quotes_lose_their_backslashes(text: str | None, said: str) -> None:
    assert plain(text) == said
