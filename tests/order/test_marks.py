import pytest

from deployd.order.marks import skip_mark


@pytest.mark.parametrize(
    ("message", "mark"),
    [
        ("", None),
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
def test_a_commit_message_can_ask_for_no_deploy(message: str, mark: str | None) -> None:
    assert skip_mark(message) == mark
