from pathlib import Path

import pytest

from deployd.errors import ConfigError
from deployd.host.service import Service, settings_of

UNIT = """\
# /etc/systemd/system/deployd.service
[Unit]
User=nobody
[Service]
# a comment
Type=notify
ExecStart=/opt/deployd/.venv/bin/deployd run \\
    --config /etc/deployd/config.toml
User=deployd
LoadCredential=old:/etc/old
RuntimeDirectory=deployd

# /etc/systemd/system/deployd.service.d/override.conf
[Service]
LoadCredential=
LoadCredential=secret:{secret}
"""


def service(secret: Path) -> Service:
    return Service(tuple(settings_of(UNIT.format(secret=secret))))


def test_a_service_is_read_with_its_drop_ins(tmp_path: Path) -> None:
    found = service(tmp_path / "secret")
    assert found.user == "deployd"
    assert found.config == Path("/etc/deployd/config.toml")
    assert found.credentials() == {"secret": tmp_path / "secret"}
    assert ("User", "nobody") not in found.settings


def test_a_command_runs_with_the_settings_of_the_service_but_not_with_how_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.said"\nexit 78\n')
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert service(tmp_path / "secret").run(["check"]) == 78
    said = (tmp_path / "systemd-run.said").read_text().splitlines()
    assert said[-2:] == ["/opt/deployd/.venv/bin/deployd", "check"]
    asked = [word.removeprefix("--property=") for word in said if word.startswith("--property=")]
    assert asked == [
        "User=deployd",
        "LoadCredential=old:/etc/old",
        "LoadCredential=",
        f"LoadCredential=secret:{tmp_path}/secret",
    ]


def test_a_credential_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"credential secret from .*which is not there") as refused:
        service(tmp_path / "secret").run(["check"])
    assert str(tmp_path / "secret") in refused.value.hint
