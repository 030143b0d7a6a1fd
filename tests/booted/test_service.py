"""deployd under a booted systemd: what its administrator does, and what goes wrong there."""

import pytest

from tests.booted.host import CONFIG, Host
from tests.typed import under

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("booted")]

BROKEN = CONFIG.replace("branch", "brunch")
CONNECT = "timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8081; head -c 1 <&3'"


def test_the_first_release_of_a_private_repository_serves_and_the_units_hold_no_fault(host: Host) -> None:
    assert (
        host.machine.run("curl", "-fsS", "http://127.0.0.1:8000/").strip()
        == host.machine.run("git", "-C", "/srv/git/iris.git", "rev-parse", "main").strip()
    )
    assert host.machine.property("deployd.service", "NRestarts") == "0"


def test_a_config_fault_at_the_start_closes_the_socket_and_says_why(host: Host) -> None:
    since = host.since_now()
    host.configure(CONFIG, mode="0600")
    told = host.machine.try_("systemctl", "restart", "deployd.service")
    assert (told.returncode, "Job for deployd.service failed" in told.stdout) == (1, True), told.stdout
    host.machine.until(["systemctl", "is-failed", "deployd.service"])
    host.machine.until(["bash", "-c", "! systemctl is-active deployd.socket"])
    assert host.machine.try_("bash", "-c", CONNECT).returncode == 1, "connections are refused, none hangs"
    assert host.machine.property("deployd.service", "NRestarts") == "0"
    assert (
        len(
            [one for one in host.journal(since) if one.get("MESSAGE", "").startswith("error: /etc/deployd/config.toml")]
        )
        == 1
    )
    assert "/etc/deployd/config.toml: Permission denied" in host.status()
    host.configure(CONFIG)
    host.machine.run("systemctl", "start", "deployd.service")
    assert host.machine.run("curl", "-fsS", "http://127.0.0.1:8081/healthz")


@pytest.mark.parametrize("waiting", [1, 20])
def test_connections_that_wait_do_not_start_a_service_with_a_wrong_config_again(host: Host, waiting: int) -> None:
    (stop,) = under("docs/operations.md", "Reload, restart, stop")
    host.machine.shell(stop)
    host.configure(BROKEN)
    since = host.since_now()
    host.machine.run("systemctl", "start", "deployd.socket")
    callers = " & ".join([CONNECT] * waiting)
    host.machine.try_("bash", "-c", f"{callers} & wait", within=60)
    host.machine.until(["bash", "-c", "! systemctl is-active deployd.socket"])
    starts = [one for one in host.journal(since) if one.get("MESSAGE", "").startswith("Starting deployd.service")]
    assert len(starts) <= 2, [one["MESSAGE"] for one in starts]


def test_a_credential_that_is_missing_closes_the_socket_too(host: Host) -> None:
    host.machine.run("rm", "/etc/deployd/credentials/webhook_secret")
    assert host.machine.try_("systemctl", "restart", "deployd.service").returncode != 0
    host.machine.until(["bash", "-c", "! systemctl is-active deployd.socket"])
    assert host.machine.property("deployd.service", "NRestarts") == "0"


def test_a_reload_of_a_wrong_config_fails_and_the_present_one_stays(host: Host) -> None:
    host.configure(BROKEN)
    since = host.since_now()
    assert host.machine.try_("systemctl", "reload", "deployd.service").returncode != 0
    assert any("brunch" in one["MESSAGE"] for one in host.journal(since, "--priority=err"))
    told = host.machine.try_("deployd", "reload")
    assert (told.returncode, "brunch" in told.stdout) == (78, True)
    assert host.machine.property("deployd.service", "ActiveState") == "active"
    host.configure(CONFIG)
    host.machine.run("systemctl", "reload", "deployd.service")


def test_the_group_of_the_socket_is_the_permission(host: Host) -> None:
    join, *token = under("docs/operations.md", "Who may do what")
    host.machine.shell(f"id ada >/dev/null 2>&1 || useradd ada; id eve >/dev/null 2>&1 || useradd eve; {join}")
    assert "sha256 = " in host.machine.shell("\n".join(token))
    code, said = host.as_user("eve", "deployd", "status")
    assert (code, "it must be in the group deployd" in said) == (69, True), said
    assert (
        host.as_user("eve", "curl", "-sS", "http://127.0.0.1:8081/api/v1/apps")[1].count("a valid token is needed") == 1
    )
    assert host.as_user("eve", "curl", "-fsS", "http://127.0.0.1:8081/healthz")[0] == 0
    assert "`sudo deployd check` runs as it does" in host.as_user("ada", "deployd", "check")[1]
    code, said = host.as_user("ada", "deployd", "deploy", "iris", "--json")
    assert (code, '"by": "ada"' in said) == (0, True), said
    assert '"iris"' in host.machine.run("deployd", "status", "--json")


def test_errors_have_their_priority_and_lines_their_app_and_deploy(host: Host) -> None:
    since = host.since_now()
    host.machine.run("deployd", "deploy", "iris", "--wait")
    number = host.live_number()
    told = host.journal(since, "DEPLOYD_APP=iris", f"DEPLOYD_DEPLOY={number}")
    assert told
    assert {one["PRIORITY"] for one in told} == {"6"}
    assert f"iris/{number}" in host.status()
    host.configure(BROKEN)
    host.machine.try_("systemctl", "restart", "deployd.service")
    host.machine.until(["systemctl", "is-failed", "deployd.service"])
    errors = host.journal(since, "--priority=err", "_COMM=deployd")
    assert any("brunch" in one["MESSAGE"] for one in errors)
    for ask in under("docs/operations.md", "The log of the daemon"):
        assert "No entries" not in host.machine.shell(ask.replace("=42", f"={number}")), ask


def test_check_as_root_sees_what_the_service_sees(host: Host) -> None:
    done = host.machine.try_("deployd", "check")
    assert (done.returncode, "credential:webhook_secret can be read" in done.stdout) == (0, True), done.stdout
    (check,) = under("docs/operations.md", "Check")
    assert "credential:webhook_secret can be read" in host.machine.shell(
        f"cd $(mktemp -d) && cp /etc/deployd/config.toml . && {check}"
    )
    host.configure(CONFIG, mode="0600")
    done = host.machine.try_("deployd", "check")
    assert (done.returncode, "Permission denied" in done.stdout, "chmod 0640" in done.stdout) == (78, True, True), (
        done.stdout
    )
    host.configure(CONFIG.replace("credential:webhook_secret", "credential:iris_token"))
    (keep,) = under("docs/private-repositories.md", "Private repositories")
    host.machine.run("bash", "-euc", keep, given="x")
    assert host.machine.run("stat", "-c", "%a %U", "/etc/deployd/credentials/iris_token") == "600 root\n"
    done = host.machine.try_("deployd", "check")
    assert (done.returncode, "LoadCredential=iris_token" in done.stdout) == (78, True), done.stdout
    host.machine.run("rm", "/etc/deployd/credentials/webhook_secret")
    done = host.machine.try_("deployd", "check")
    assert (done.returncode, "the service cannot start" in done.stdout) == (78, True), done.stdout


def test_a_stopped_service_is_not_started_by_a_question(host: Host) -> None:
    host.machine.run("systemctl", "stop", "deployd.service")
    done = host.machine.try_("deployd", "status")
    assert (done.returncode, "deployd does not run here" in done.stdout) == (69, True), done.stdout
    assert host.machine.property("deployd.service", "ActiveState") == "inactive"


def test_a_container_that_was_removed_by_hand_serves_again(host: Host) -> None:
    number = host.live_number()
    host.machine.shell("docker rm --force $(docker ps --quiet --filter label=io.deployd.app=iris)")
    host.machine.until(["curl", "-fsS", "http://127.0.0.1:8000/"], within=60)
    assert host.live_number() == number


def test_a_stopped_engine_leaves_no_release_live_in_the_status_until_it_is_back(host: Host) -> None:
    host.machine.run("systemctl", "stop", "docker.socket", "docker.service")
    host.machine.until(["bash", "-c", "deployd status iris | grep -q unknown"], within=60)
    assert "iris cannot be checked" in host.machine.run("deployd", "status")
    host.machine.run("systemctl", "start", "docker.service")
    host.machine.until(["curl", "-fsS", "http://127.0.0.1:8000/"], within=60)
    host.machine.until(["bash", "-c", "deployd status iris | grep -q live"], within=60)
