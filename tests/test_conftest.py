import pytest

from deployd.errors import Unavailable
from tests import conftest


def missing() -> str:
    raise Unavailable("no engine answers", hint="install one")


def test_a_test_whose_engine_cannot_be_had_is_skipped_with_what_is_missing() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"no engine answers \(install one\)"):
        conftest.needed(missing)


def test_an_available_part_is_handed_to_the_test() -> None:
    assert conftest.needed(lambda: "an engine") == "an engine"
