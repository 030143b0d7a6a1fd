"""Settings: options over variables over defaults."""

from pathlib import Path

import pytest

from model_service.settings import Settings, read_settings


def test_an_option_wins_over_a_variable_and_a_variable_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PORT", "6000")
    monkeypatch.setenv("MODEL_MAX_ROWS", "7")
    monkeypatch.setenv("MODEL_TRUST", "a.B, c.D")
    monkeypatch.setenv("MODEL_COMMIT", "")
    settings = read_settings(["--port", "7000", "--dir", "m"])
    assert (settings.port, settings.max_rows, settings.dir) == (7000, 7, Path("m"))
    assert settings.trust == ("a.B", "c.D")
    assert settings.commit is None
    assert settings.drain == Settings().drain


@pytest.mark.parametrize("address", ["tcp://10.96.0.7:80", "udp://10.96.0.7:80"])
def test_what_kubernetes_says_of_a_service_named_model_is_no_port_of_ours(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("MODEL_PORT", address)
    assert read_settings([]).port == 5000


@pytest.mark.parametrize(
    "wrong", [["--port", "70000"], ["--workers", "0"], ["--drain", "-1"], ["--max-rows", "x"], ["--nope"]]
)
def test_a_wrong_option_is_a_usage_error(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(wrong)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_wrong_variable_is_a_usage_error_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_TIMEOUT", "soon")
    with pytest.raises(SystemExit) as ended:
        read_settings([])
    assert ended.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_help_names_the_variable_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    told = capsys.readouterr().out
    assert "MODEL_MAX_ROWS" in told
    assert "--meters" not in told
