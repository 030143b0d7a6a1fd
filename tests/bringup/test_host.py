from configparser import ConfigParser
from pathlib import Path

import pytest

from deployd.bringup import host


def options(config: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read_string(host.pip_conf(config))
    return dict(parser["global"])


def test_the_index_of_this_host_goes_into_the_image() -> None:
    found = options("global.index-url='https://packages.example.com/simple'\nglobal.timeout='60'\n")
    assert found == {
        "index-url": "https://packages.example.com/simple",
        "timeout": "60",
        "disable-pip-version-check": "1",
    }


def test_the_environment_overrides_the_file() -> None:
    both = ":env:.index-url='https://one.example.com/simple'\nglobal.index-url='https://two.example.com/simple'\n"
    assert options(both)["index-url"] == "https://one.example.com/simple"


def test_settings_that_name_files_of_this_host_are_left_out() -> None:
    config = (
        "global.cert='/somewhere/bundle.crt'\n"
        "global.find-links='/somewhere/wheels'\n"
        "global.extra-index-url='file:///somewhere/simple https://more.example.com/simple'\n"
        "install.user='yes'\n"
    )
    assert options(config) == {"extra-index-url": "https://more.example.com/simple", "disable-pip-version-check": "1"}


def test_a_percent_sign_in_an_address_survives() -> None:
    address = "https://user:p%40ss@packages.example.com/simple"
    assert options(f"global.index-url={address!r}\n")["index-url"] == address


def test_the_certificates_that_this_host_trusts_go_into_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(b"an authority")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setattr(host, "_pip_config", str)
    files = host.settings()
    assert files[host.BUNDLE] == b"an authority"
    assert "/etc/pip.conf" in files


def test_a_missing_bundle_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(b"an authority")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.crt"))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setattr(host, "_pip_config", str)
    assert host.settings()[host.BUNDLE] == b"an authority"
