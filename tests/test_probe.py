import pytest

from deployd.config.app import Ready
from deployd.errors import RolloutFailed
from deployd.probe import pause, said_commit, until_ready


@pytest.mark.parametrize(
    ("body", "commit"),
    [
        ('{"commit": "c0ffee", "version": 1}', "c0ffee"),
        ("c0ffee\n", "c0ffee"),
        ('"c0ffee"', "c0ffee"),
        ("{}", ""),
        ("[1]", "[1]"),
        ("1234567", "1234567"),
        ("", ""),
    ],
)
def test_a_commit_is_found_in_json_and_in_plain_text(body: str, commit: str) -> None:
    assert said_commit(body) == commit


@pytest.mark.parametrize(
    ("waited", "every", "expected"),
    [(0.0, 0.25, 0.01), (0.05, 0.25, 0.01), (1.0, 0.25, 0.1), (60.0, 0.25, 0.25), (0, 0.005, 0.005)],
)
def test_a_release_is_asked_often_at_first_and_then_every_so_often(
    waited: float, every: float, expected: float
) -> None:
    assert pause(waited, every) == pytest.approx(expected)


async def test_the_user_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    with pytest.raises(RolloutFailed, match="/: connection refused"):
        await until_ready("http://127.0.0.1:1", Ready(path="/", within="1s"), None)
