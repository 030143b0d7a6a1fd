"""Where an app answers its users."""

from typing import Any

import pytest

from deployd.config.file import parse
from deployd.config.urls import public_urls

APP = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main"}


@pytest.mark.parametrize(
    ("app", "sections", "urls"),
    [
        ({"listen": 8000}, {}, ["http://127.0.0.1:8000"]),
        ({"listen": 8000}, {"gateway": {"bind": "192.0.2.7"}}, ["http://192.0.2.7:8000"]),
        ({"listen": 8000}, {"gateway": {"bind": "2001:db8::1"}}, ["http://[2001:db8::1]:8000"]),
        ({"listen": 8000}, {"server": {"base_url": "https://ml.example.com:1"}}, ["http://ml.example.com:8000"]),
        ({"hosts": ["a.example.com"]}, {"gateway": {"http_port": 80}}, ["http://a.example.com"]),
        (
            {"listen": 9, "hosts": ["a.example.com"], "path_prefix": "/iris/"},
            {"gateway": {"https_port": 8443, "certificates": "/certificates"}},
            ["http://127.0.0.1:9", "https://a.example.com:8443/iris"],
        ),
    ],
)
def test_an_app_has_a_url_for_its_port_and_for_each_host_name(
    app: dict[str, Any], sections: dict[str, Any], urls: list[str]
) -> None:
    config = parse({"app": [{**APP, "gateway": app}], **sections})
    assert public_urls(config, config.app[0]) == urls
