from deployd.gateway.backend import backend
from deployd.gateway.sampling import frontend_rules
from deployd.gateway.slots import Route

SAMPLED = Route("iris", 8000, sampled=1000)


def test_an_app_that_does_not_agree_has_no_rule_for_samples() -> None:
    assert frontend_rules([Route("wine", 8001)]) == []
    assert "capture" not in backend(Route("wine", 8001))


def test_in_a_shared_frontend_only_the_requests_of_apps_that_agree_are_logged() -> None:
    shared = frontend_rules([SAMPLED, Route("wine", 8001)])
    assert shared[-1] == "  http-request set-log-level silent"
    assert "set-log-level info if { var(txn.app) -m found }" in backend(SAMPLED)


def test_the_share_is_drawn_once_for_each_request() -> None:
    assert backend(SAMPLED).count("rand(") == 1
    assert "{ rand(100000) lt 1000 }" in backend(SAMPLED)


def test_the_path_is_recorded_as_the_app_sees_it() -> None:
    lines = backend(Route("iris", 8000, path_prefix="/v1", strip_prefix=True, sampled=1)).splitlines()
    stripped, recorded = (
        next(i for i, line in enumerate(lines) if what in line) for what in ("replace-path", "txn.path")
    )
    assert stripped < recorded
