from deployd.gateway.counters import parse_all, parse_counters, parse_latencies
from deployd.judge.traffic import Counters, Place

STAT = """# pxname,svname,qcur,scur,stot,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,cli_abrt,srv_abrt,addr,
app-iris,s1,0,2,110,0,90,1,7,4,1,3,0,172.20.0.2:5000,
app-iris,s2,0,0,0,0,0,0,0,0,0,0,0,127.0.0.1:1,

"""
TABLE = """# table: app-iris, type: string, size:4096, used:2
0x5581: key=s1:5:12 use=0 exp=0 gpc0=41
0x5582: key=s1:4:98 use=0 exp=0 gpc0=3
0x5583: key=s2:1:7 use=0 exp=0 gpc0=1

"""


def test_the_counters_of_a_worker_are_parsed_by_slot_and_address() -> None:
    found = parse_counters(17, STAT, TABLE)
    assert found[Place(17, "s1", "172.20.0.2:5000")] == Counters(110, 103, 4, 7, 3, 2, {12_000: 41, 9800: 3})


def test_a_request_that_became_a_websocket_was_answered() -> None:
    (counters,) = parse_counters(
        17, "# pxname,svname,scur,stot,hrsp_1xx,addr,\napp-iris,s1,2,5,5,172.20.0.2:5000,\n"
    ).values()
    assert (counters.attempts, counters.answered) == (5, 5)


def test_a_duration_is_given_by_the_least_of_its_class() -> None:
    assert parse_latencies(TABLE) == {"s1": {12_000: 41, 9800: 3}, "s2": {7: 1}}


def test_a_worker_that_has_ended_has_no_figures() -> None:
    assert parse_counters(17, "Can't find the target PID matching the prefix '@!17'\n", "") == {}


ALL = """# pxname,svname,qcur,scur,stot,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,cli_abrt,srv_abrt,addr,
app-iris,s1,0,2,110,0,90,1,7,4,1,3,0,172.20.0.2:5000,
app-iris,BACKEND,0,2,115,0,90,1,7,9,1,3,0,,
app-rose,s1,0,0,2,0,2,0,0,0,0,0,0,172.20.0.3:5000,
app-rose,BACKEND,0,0,2,0,2,0,0,0,0,0,0,,

"""
TWO_TABLES = TABLE + TABLE.replace("app-iris", "app-rose").replace("gpc0=41", "gpc0=2")


def test_all_backends_are_read_at_once_each_with_its_own_durations() -> None:
    found = parse_all(17, ALL, TWO_TABLES)
    assert list(found) == ["app-iris", "app-rose"]
    assert found["app-iris"][Place(17, "s1", "172.20.0.2:5000")].latencies == {12_000: 41, 9800: 3}
    assert found["app-rose"][Place(17, "s1", "172.20.0.3:5000")].latencies == {12_000: 2, 9800: 3}


def test_a_backend_counts_the_requests_that_reached_no_server_too() -> None:
    whole = parse_all(17, ALL, "")["app-iris"][Place(17, "BACKEND", "")]
    assert (whole.attempts, whole.errors) == (115, 9)


def test_a_worker_that_has_ended_has_no_counters() -> None:
    assert parse_all(17, "Can't find the target PID matching the prefix '@!17'\n", "") == {}
