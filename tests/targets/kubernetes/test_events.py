import pytest

from deployd.targets.kubernetes.describe import described
from deployd.targets.kubernetes.events import times, when
from tests.targets.kubernetes.objects import Json, a_deployment, an_event

MADE = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
SERIES = MADE | {
    "eventTime": "2026-01-01T00:00:01.000000Z",
    "firstTimestamp": None,
    "lastTimestamp": None,
    "series": {"count": 41, "lastObservedTime": "2026-01-01T00:10:00.000000Z"},
}


@pytest.mark.parametrize(
    ("event", "last", "count"),
    [
        (MADE, "2026-01-01T00:00:00Z", 1),
        (MADE | {"lastTimestamp": "2026-01-01T00:05:00Z", "count": 7}, "2026-01-01T00:05:00Z", 7),
        (MADE | {"eventTime": "2026-01-01T00:00:01.000000Z", "series": None}, "2026-01-01T00:00:01.000000Z", 1),
        (SERIES, "2026-01-01T00:10:00.000000Z", 41),
    ],
)
def test_an_event_that_comes_again_has_its_last_time_and_its_count(event: Json, last: str, count: int) -> None:
    assert (when(event), times(event)) == (last, count)


def test_a_description_has_the_events_by_their_last_time() -> None:
    series = SERIES | {
        "involvedObject": {"kind": "Pod", "name": "iris-1"},
        "message": r"no \"model\"",
        "reason": "Failed",
    }
    older = an_event("iris-1", "Pulled", "pulled", "2026-01-01T00:05:00Z")
    found = described(a_deployment(), [], [], [series, older], None, None)["events"]
    assert [(event["reason"], event["count"], event["message"]) for event in found] == [
        ("Pulled", 1, "pulled"),
        ("Failed", 41, 'no "model"'),
    ]
