"""Durations, sizes, references to secrets."""

from pathlib import Path

import pytest

from deployd.config.values import read_secret, seconds, size
from deployd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("250ms", 0.25), ("5m", 300), ("1h30m", 5400), ("7d", 604800), ("0", 0), (0, 0), ("1.5h", 5400)],
)
def test_durations_have_units(text: object, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["90", 90, "", "s", "5 m", "-5s", "5m ", "5min", "1e3s", None, True, False, 1.5, ["5s"]]
)
def test_anything_but_a_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a duration with a unit"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"), [("512MiB", 2**29), ("10GB", 10**10), ("1 KiB", 1024), ("0.5KB", 500), ("7B", 7)]
)
def test_sizes_have_units(text: object, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["512", 512, "", "MiB", "-1MB", "1mb", "1M", None, True])
def test_anything_but_a_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a size with a unit"):
        size(text)


def test_a_secret_is_read_from_the_environment_a_file_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "one ")
    (tmp_path / "two").write_text("two\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("env:SECRET", "key") == "one "
    assert read_secret(f"file:{tmp_path}/two", "key") == "two"
    assert read_secret("credential:two", "key") == "two"


@pytest.mark.parametrize("reference", ["env:MISSING", "env:BLANK", "file:/nowhere", "credential:nothing", "file:EMPTY"])
def test_a_secret_that_is_missing_or_empty_is_an_error_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.setenv("BLANK", " \n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "EMPTY").write_text("\n")
    with pytest.raises(ConfigError, match=r"^github\.secrets\[0\]: ") as refused:
        read_secret(reference.replace("EMPTY", str(tmp_path / "EMPTY")), "github.secrets[0]")
    assert refused.value.hint.startswith(("set ", "write the secret into that file"))


def test_a_credential_that_is_missing_says_what_the_unit_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/token: No such file") as refused:
        read_secret("credential:token", "app.iris.credentials")
    assert refused.value.hint == "set it, or add LoadCredential=token:FILE to the unit and restart deployd"
