import json

from deployd.http.problems import problem


def test_a_problem_has_the_members_of_rfc_9457_and_a_hint() -> None:
    assert json.loads(problem(415, "no", "send JSON")) == {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "no",
        "hint": "send JSON",
    }
    assert "hint" not in json.loads(problem(404, "no"))
