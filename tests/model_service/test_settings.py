"""The settings: options, environment variables and defaults."""

from pathlib import Path

import pytest

from model_service.settings import Settings, read_settings


def test_an_option_overrides_a_variable_and_a_variable_overrides_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PORT", "6000")
    monkeypatch.setenv("MODEL_MAX_ROWS", "7")
    monkeypatch.setenv("MODEL_TRUST", "a.B, c.D")
    settings = read_settings(["--port", "7000", "--dir", "m"])
    assert (settings.port, settings.max_rows, settings.dir) == (7000, 7, Path("m"))
    assert settings.trust == ("a.B", "c.D")
    assert settings.drain == Settings().drain


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_COMMIT", "")
    monkeypatch.setenv("MODEL_PORT", "")
    assert (read_settings([]).commit, read_settings([]).port) == (None, 5000)


@pytest.mark.parametrize("address", ["tcp://10.96.0.7:80", "udp://10.96.0.7:80"])
def test_the_variable_that_kubernetes_sets_for_a_service_named_model_is_ignored(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("MODEL_PORT", address)
    assert read_settings([]).port == 5000


WRONG = {
    ("--port", "70000"): "expected a port from 0 to 65535, got '70000'",
    ("--workers", "0"): "expected a whole number from 1 up, got '0'",
    ("--max-rows", "x"): "expected a whole number from 1 up, got 'x'",
    ("--drain", "-1"): "expected seconds from 0 to 86400, got '-1'",
    ("--grace", "nan"): "expected seconds from 0 to 86400, got 'nan'",
    ("--body-timeout", "0"): "expected seconds, more than 0 and at most 86400, got '0'",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.items(), ids=[" ".join(arguments) for arguments in WRONG])
def test_a_wrong_value_of_an_option_gives_one_line_that_names_it_and_what_was_expected(
    arguments: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {arguments[0]}: {message}\n"


def test_a_wrong_value_of_a_variable_gives_one_line_that_names_it_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_TIMEOUT", "soon")
    with pytest.raises(SystemExit) as ended:
        read_settings([])
    assert ended.value.code == 2
    expected = "error: MODEL_TIMEOUT: expected seconds, more than 0 and at most 86400, got 'soon'\n"
    assert capsys.readouterr().err == expected


def test_all_wrong_values_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_WORKERS", "many")
    with pytest.raises(SystemExit):
        read_settings(["--port", "http"])
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [" --port", " MODEL_WORKERS"]


def test_an_unknown_option_is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["--nope"])
    assert ended.value.code == 2
    assert "--nope" in capsys.readouterr().err


def test_help_names_the_variable_and_the_default_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(MODEL_MAX_ROWS, default 10000)" in text
    assert "--metrics-file" not in text


def test_the_options_of_the_supervisor_have_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LISTENER_FD", "3")
    assert read_settings([]).listener_fd is None
    assert read_settings(["--listener-fd", "3", "--listen-when-ready", "yes"]).listen_when_ready
