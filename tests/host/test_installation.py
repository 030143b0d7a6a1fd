import os
import pwd
from pathlib import Path

import pytest

from deployd.errors import DeploydError
from deployd.host.act import Act, run
from deployd.host.installation import UNITS, Program, Site, unit
from deployd.host.removal import uninstall

COMMAND = Path("/opt/deployd/bin/deployd")
PROGRAM = Program(COMMAND, (COMMAND,))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A machine without systemd that has the account, which is that of the tests."""
    return Site(tmp_path, pwd.getpwuid(os.geteuid()).pw_name)


def carry_out(acts: list[Act]) -> list[str]:
    for act in acts:
        if act.do is not None:
            act.do()
    return [act.done for act in acts]


def install(site: Site, program: Program = PROGRAM) -> list[str]:
    return carry_out(list(site.install(program)))


def test_an_installation_makes_directories_a_secret_units_and_the_command(site: Site) -> None:
    install(site)
    assert site.config.stat().st_mode & 0o777 == 0o750
    assert site.credentials.stat().st_mode & 0o777 == 0o700
    secret = site.credentials / "webhook_secret"
    assert (secret.stat().st_mode & 0o777, len(secret.read_text().strip())) == (0o600, 64)
    assert f"ExecStart={COMMAND} run --config /etc/deployd/config.toml\n" in (site.units / UNITS[1]).read_text()
    assert site.link.readlink() == COMMAND


def test_a_plan_changes_nothing(site: Site) -> None:
    assert [act.done for act in site.install(PROGRAM)] == ["as it is", *["made"] * 6]
    assert list(site.root.iterdir()) == []


def test_a_second_installation_finds_everything_as_it_is_and_keeps_the_secret(site: Site) -> None:
    install(site)
    secret = (site.credentials / "webhook_secret").read_text()
    assert set(install(site)) == {"as it is"}
    assert (site.credentials / "webhook_secret").read_text() == secret


def test_an_upgrade_renews_a_unit_and_keeps_one_that_was_edited_beside_it(site: Site) -> None:
    install(site)
    service = site.units / "deployd.service"
    service.write_text("edited\n")
    assert install(site).count("renewed") == 1
    assert (service.read_text(), Path(f"{service}.old").read_text()) == (unit(service.name, COMMAND), "edited\n")
    assert service.stat().st_mode & 0o777 == 0o644


def test_the_program_of_another_environment_takes_over_the_units_and_the_command(site: Site) -> None:
    install(site)
    other = Path("/opt/pipx/venvs/deployd/bin/deployd")
    assert install(site, Program(other, (other,))).count("renewed") == 2  # the socket names no program
    assert f"ExecReload={other} reload\n" in (site.units / "deployd.service").read_text()
    assert site.link.readlink() == other


def test_a_command_of_that_name_that_is_a_file_is_not_replaced(site: Site) -> None:
    site.link.parent.mkdir(parents=True)
    site.link.write_text("#!/bin/sh\n")
    assert "kept" in install(site)
    assert site.link.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("part", ["/root/.local/bin/deployd", "/var/tmp/deployd/bin/deployd", "/tmp/x/bin/deployd"])
def test_a_program_where_the_service_sees_nothing_is_refused_with_what_to_do(part: str) -> None:
    with pytest.raises(DeploydError, match="which the service does not see") as refused:
        Program(COMMAND, (Path(part),)).check()
    assert "PIPX_HOME=/opt/pipx" in refused.value.hint
    assert refused.value.hint.count("/usr/bin/python3") == 3, "each way names a Python that the service sees"


def test_a_program_in_a_directory_that_others_may_not_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.host.installation._HIDDEN", ())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DeploydError, match="cannot be entered by the service's account"):
        Program(COMMAND, (closed / "deployd",)).check()


def test_a_program_whose_path_a_unit_would_read_otherwise_is_refused() -> None:
    with pytest.raises(DeploydError, match="cannot be written into a systemd unit"):
        Program(Path("/opt/50% off/bin/deployd"), ()).check()


def test_an_uninstallation_removes_units_and_command_and_keeps_what_is_the_users(site: Site) -> None:
    install(site)
    (site.units / "deployd.service").write_text("edited\n")
    install(site)
    drop_in = site.units / "deployd.service.d"
    drop_in.mkdir()
    site.state.mkdir(parents=True)
    assert carry_out(list(uninstall(site, purge=False))) == [*["removed"] * 4, *["kept"] * 4]
    assert list(site.units.iterdir()) == [drop_in]
    assert not site.link.is_symlink()
    assert (site.credentials / "webhook_secret").exists()


def test_a_purge_leaves_nothing(site: Site) -> None:
    install(site)
    site.state.mkdir(parents=True)
    acts = [act for act in uninstall(site, purge=True) if not act.what.startswith("account")]
    assert set(carry_out(acts)) == {"removed"}
    assert not site.config.exists()
    assert not site.state.exists()


def test_an_uninstallation_of_nothing_finds_nothing(tmp_path: Path) -> None:
    assert list(uninstall(Site(tmp_path, "deployd-nobody"), purge=True)) == []


def test_a_program_of_the_host_that_fails_or_is_missing_is_told() -> None:
    with pytest.raises(DeploydError, match="`false` failed"):
        run("false")
    with pytest.raises(DeploydError, match="no program deployd-nothing"):
        run("deployd-nothing")
