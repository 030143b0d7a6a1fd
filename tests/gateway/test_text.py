import json
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.daemon import GatewaySection
from deployd.gateway.slots import Endpoint, Route, Slot, Use
from deployd.gateway.text import Doors, read, read_doors, render, shape

IRIS = Route(
    "iris",
    8000,
    slots=(
        Slot(Endpoint("172.20.0.2", 5000), Use.DRAIN),
        Slot(Endpoint("172.20.0.3", 5000), Use.READY),
        Slot(),
        Slot(),
    ),
)
WINE = Route("wine", None, ("Wine.example.com", "wine.example.org"), "/v1")


def text(*routes: Route, **settings: object) -> str:
    section = GatewaySection.model_validate({"bind": "192.0.2.1", **settings})
    return render(Doors.of(section, bridge=False), routes)


def test_an_app_s_port_leads_to_its_slots() -> None:
    assert "frontend port-8000\n  bind 192.0.2.1:8000\n  default_backend app-iris\n" in text(IRIS)
    backend = text(IRIS).split("backend app-iris\n")[2]
    assert backend.splitlines()[1:] == [
        "  server s1 172.20.0.2:5000 disabled",
        "  server s2 172.20.0.3:5000 backup",
        "  server s3 127.0.0.1:1 backup disabled",
        "  server s4 127.0.0.1:1 backup disabled",
    ]


def test_only_what_is_safe_is_sent_twice() -> None:
    assert "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }" in text(IRIS)


def test_hosts_share_one_door_and_a_prefix_ends_at_a_slash() -> None:
    hosts = "{ req.hdr(host),field(1,:),lower -m str wine.example.com wine.example.org }"
    assert f"use_backend app-wine if {hosts} {{ path /v1 }} or {hosts} {{ path_beg /v1/ }}" in text(WINE, http_port=80)


def test_the_longest_prefix_is_asked_first() -> None:
    root = Route("root", None, ("wine.example.com",))
    rules = [line.split()[1] for line in text(root, WINE, http_port=80).splitlines() if "use_backend" in line]
    assert rules == ["app-wine", "app-root"]


def test_without_a_shared_port_there_is_no_shared_door() -> None:
    assert "frontend shared" not in text(IRIS)


def test_tls_ends_at_the_gateway() -> None:
    assert "bind 192.0.2.1:443 ssl crt /etc/deployd-certificates/ alpn h2,http/1.1" in text(
        WINE, https_port=443, certificates=Path("/certificates")
    )


def test_statistics_are_for_this_machine_alone() -> None:
    assert "frontend stats\n  bind 127.0.0.1:9101\n" in text(stats_port=9101)


def test_behind_published_ports_every_door_is_open_inside() -> None:
    section = GatewaySection(bind="127.0.0.1", stats_port=9101)
    assert "bind 127.0.0.1" not in render(Doors.of(section, bridge=True), [IRIS])


def doors(**settings: object) -> Doors:
    return Doors.of(GatewaySection.model_validate({"bind": "192.0.2.1", **settings}), bridge=False)


def test_routes_and_doors_can_be_read_back() -> None:
    assert read(text(WINE, IRIS, http_port=80)) == [IRIS, WINE]
    assert read_doors(text(WINE, IRIS, http_port=80)) == doors(http_port=80)


def test_the_routes_of_an_earlier_deployd_s_file_can_be_read_and_its_doors_are_unknown() -> None:
    earlier = f"# deployd {json.dumps([IRIS.to_json()])}\nglobal\n"
    assert (read(earlier), read_doors(earlier)) == ([IRIS], None)


def test_haproxy_is_told_the_shape_of_its_text() -> None:
    assert f"\n  description {shape(doors(), [IRIS, WINE])}\n" in text(IRIS, WINE)


def test_a_switch_does_not_change_the_shape() -> None:
    assert shape(doors(), [WINE, replace(IRIS, slots=WINE.slots)]) == shape(doors(), [IRIS, WINE])


@pytest.mark.parametrize("settings", [{"bind": "192.0.2.2"}, {"http_port": 80}, {"stats_port": 9101}])
def test_other_doors_make_another_shape(settings: dict[str, object]) -> None:
    assert shape(doors(**settings), [IRIS]) != shape(doors(), [IRIS])


def test_other_routes_make_another_shape() -> None:
    assert shape(doors(), [IRIS]) != shape(doors(), [IRIS, WINE]) != shape(doors(), [replace(IRIS, listen=1), WINE])


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "\n",
        "# deployd ",
        text(IRIS)[:60],
        "# deployd [1]\n",
        '# deployd {"doors": {"a": 1}, "routes": 1}',
        '# deployd [{"app": "iris"}]',
        "global\n",
    ],
)
def test_a_damaged_file_has_no_routes_and_no_doors(damaged: str) -> None:
    assert read(damaged) == []
    assert read_doors(damaged) is None


def test_the_body_without_a_release_is_a_problem_document() -> None:
    line = next(line for line in text(IRIS).splitlines() if "http-error status 503" in line)
    body = line.split('string "')[1].split('" hdr')[0].replace('\\"', '"')
    assert json.loads(body)["title"] == "no release of this app is serving"
    assert line.endswith("hdr Retry-After 5")


def test_the_same_state_is_always_the_same_text() -> None:
    assert text(IRIS, WINE) == text(WINE, IRIS)
