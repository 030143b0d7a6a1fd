import json
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.daemon import GatewaySection
from deployd.gateway.counters import LATENCY_RULES
from deployd.gateway.slots import Endpoint, Route, Slot, Use
from deployd.gateway.text import Listeners, read, read_listeners, render, structure_hash

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
    return render(Listeners.of(section, bridge=False), routes)


def test_the_frontend_of_an_app_s_port_uses_its_backend() -> None:
    frontend = text(IRIS).split("frontend port-8000\n")[1].split("\n\n")[0].splitlines()
    assert (frontend[0], frontend[-1]) == ("  bind 192.0.2.1:8000", "  default_backend app-iris")
    backend = text(IRIS).split("backend app-iris\n")[2]
    assert [line for line in backend.splitlines() if line.startswith("  server")] == [
        "  server s1 172.20.0.2:5000 disabled",
        "  server s2 172.20.0.3:5000 backup",
        "  server s3 127.0.0.1:1 backup disabled",
        "  server s4 127.0.0.1:1 backup disabled",
    ]


def test_durations_are_counted_for_every_app() -> None:
    assert set(LATENCY_RULES) <= set(text(IRIS).splitlines())


def test_only_requests_with_an_idempotent_method_are_retried_after_an_empty_answer() -> None:
    assert "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }" in text(IRIS)


def test_apps_with_hosts_share_a_frontend_and_a_path_prefix_ends_at_a_slash() -> None:
    hosts = "{ req.hdr(host),field(1,:),lower -m str wine.example.com wine.example.org }"
    assert f"use_backend app-wine if {hosts} {{ path /v1 }} or {hosts} {{ path_beg /v1/ }}" in text(WINE, http_port=80)


def test_the_longest_path_prefix_is_matched_first() -> None:
    root = Route("root", None, ("wine.example.com",))
    rules = [line.split()[1] for line in text(root, WINE, http_port=80).splitlines() if "use_backend" in line]
    assert rules == ["app-wine", "app-root"]


def test_a_wildcard_stands_for_one_label_and_is_matched_after_every_whole_name() -> None:
    routes = [
        Route("all", None, ("*.example.com",), "/a/very/long/path"),
        Route("iris", None, ("iris.example.com", "*.ml-1.example.com")),
    ]
    rules = [line.partition("lower ")[2] for line in text(*routes, http_port=80).splitlines() if "use_backend" in line]
    assert [rule.partition(" }")[0] for rule in rules] == [
        "-m str iris.example.com",
        r"-m reg ^[^.]+\.example\.com$",
        r"-m reg ^[^.]+\.ml-1\.example\.com$",
    ]


def test_without_a_shared_port_there_is_no_shared_frontend() -> None:
    assert "frontend shared" not in text(IRIS)


def test_tls_ends_at_the_gateway_as_soon_as_there_is_a_certificate() -> None:
    section = GatewaySection(bind="192.0.2.1", https_port=443, certificates=Path("/certificates"))
    before, after = (Listeners.of(section, bridge=False, certificates=digest) for digest in ("", "0a1b"))
    line = "bind 192.0.2.1:443 ssl crt /etc/deployd-certificates/0a1b/ alpn h2,http/1.1"
    assert line in render(after, [IRIS, WINE])
    assert ":443" not in render(before, [IRIS, WINE])
    assert "bind 192.0.2.1:8000" in render(before, [IRIS, WINE])


def test_the_certificates_of_a_digest_are_a_directory_of_their_own() -> None:
    section = GatewaySection(https_port=443, certificates=Path("/certificates"))
    told = [Listeners.of(section, bridge=False, certificates=digest) for digest in ("0a1b", "2c3d")]
    assert "ssl crt /etc/deployd-certificates/0a1b/ alpn" in render(told[0], [WINE])
    assert structure_hash(told[0], [WINE]) != structure_hash(told[1], [WINE])
    assert read_listeners(render(told[0], [WINE])) == told[0]


def test_forwarded_headers_count_only_from_a_trusted_proxy() -> None:
    for written in (text(IRIS), text(WINE, http_port=80)):
        assert "  acl from_proxy always_false\n" in written
        assert " -m reg unless from_proxy\n" in written
    assert "  acl from_proxy src 10.0.0.0/8 192.0.2.9/32\n" in text(IRIS, trusted_proxies=["10.1.2.3/8", "192.0.2.9"])


def test_a_prefix_is_taken_away_only_where_that_is_asked() -> None:
    assert "replace-path" not in text(WINE, http_port=80)
    stripped = text(replace(WINE, path_prefix="/v1.0/", strip_prefix=True), http_port=80)
    assert "replace-path ^/v1[.]0(/+(.*))?$ /\\2 if { path /v1.0 } or { path_beg /v1.0/ }" in stripped
    assert "replace-path" not in text(replace(WINE, path_prefix="/", strip_prefix=True), http_port=80)


def test_the_buffer_is_haproxy_s_own_unless_it_is_set() -> None:
    assert "tune.bufsize" not in text(IRIS)
    assert "  tune.bufsize 65536\n" in text(IRIS, buffer="64KiB")


def test_the_statistics_listen_on_loopback_only() -> None:
    assert "frontend stats\n  bind 127.0.0.1:9101\n" in text(stats_port=9101)


def test_on_a_bridge_every_frontend_listens_on_all_addresses() -> None:
    section = GatewaySection(bind="127.0.0.1", stats_port=9101)
    assert "bind 127.0.0.1" not in render(Listeners.of(section, bridge=True), [IRIS])


def listeners(**settings: object) -> Listeners:
    return Listeners.of(GatewaySection.model_validate({"bind": "192.0.2.1", **settings}), bridge=False)


def test_routes_and_listeners_can_be_read_back() -> None:
    assert read(text(WINE, IRIS, http_port=80)) == [IRIS, WINE]
    settings = {"http_port": 80, "buffer": "32KiB", "trusted_proxies": ["10.0.0.0/8"]}
    assert read_listeners(text(WINE, IRIS, **settings)) == listeners(**settings)


def test_a_file_of_an_older_deployd_gives_its_routes_but_no_listeners() -> None:
    earlier = f"# deployd {json.dumps([IRIS.to_json()])}\nglobal\n"
    assert (read(earlier), read_listeners(earlier)) == ([IRIS], None)


def test_the_description_is_the_structure_hash() -> None:
    assert f"\n  description {structure_hash(listeners(), [IRIS, WINE])}\n" in text(IRIS, WINE)


def test_a_switch_does_not_change_the_structure_hash() -> None:
    assert structure_hash(listeners(), [WINE, replace(IRIS, slots=WINE.slots)]) == structure_hash(
        listeners(), [IRIS, WINE]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"bind": "192.0.2.2"},
        {"http_port": 80},
        {"stats_port": 9101},
        {"buffer": "32KiB"},
        {"trusted_proxies": ["10.0.0.0/8"]},
    ],
)
def test_other_listeners_give_another_structure_hash(settings: dict[str, object]) -> None:
    assert structure_hash(listeners(**settings), [IRIS]) != structure_hash(listeners(), [IRIS])


def test_other_routes_give_another_structure_hash() -> None:
    assert (
        structure_hash(listeners(), [IRIS])
        != structure_hash(listeners(), [IRIS, WINE])
        != structure_hash(listeners(), [replace(IRIS, listen=1), WINE])
    )


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
def test_a_damaged_file_gives_no_routes_and_no_listeners(damaged: str) -> None:
    assert read(damaged) == []
    assert read_listeners(damaged) is None


def test_the_503_without_a_release_is_a_problem_document() -> None:
    line = next(line for line in text(IRIS).splitlines() if "http-error status 503" in line)
    body = line.split('string "')[1].split('" hdr')[0].replace('\\"', '"')
    assert json.loads(body)["title"] == "no release of this app is serving"
    assert line.endswith("hdr Retry-After 5")


def test_the_same_state_is_always_the_same_text() -> None:
    assert text(IRIS, WINE) == text(WINE, IRIS)
