"""What deployd outlives under a booted systemd: restarts, an upgrade, its watchdog, a reboot, its own removal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.booted.host import Host
from tests.deliveries import a_push, raw_of
from tests.testbed.booted import pip_settings
from tests.typed import under

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("booted")]

# Signs and sends the push in /tmp/push, one delivery after the other, until /tmp/enough is there; says what was not accepted.
FORGE = """\
import hashlib, hmac, http.client, itertools, pathlib, sys, time
secret, name = sys.argv[1:3]
body = pathlib.Path("/tmp/push").read_bytes()
signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
for number in itertools.count(1):
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": f"{name}-{number}",
               "X-Hub-Signature-256": signature}
    try:
        forge = http.client.HTTPConnection("127.0.0.1", 8081, timeout=60)
        forge.request("POST", "/webhooks/github", body, headers)
        answer = forge.getresponse()
        if answer.status != 202:
            print("refused", number, answer.status, answer.read())
    except OSError as exc:
        print("refused", number, repr(exc))
    if pathlib.Path("/tmp/enough").exists():
        break
    time.sleep(0.02)
print("sent", number)
"""


@contextmanager
def forge_that_pushes(host: Host) -> Iterator[list[str]]:
    """Webhooks come one after the other; at the end the lines of what was sent and what was refused."""
    said: list[str] = []
    host.machine.shell("rm -f /tmp/enough /tmp/said")
    host.machine.shell(f"setsid {forge(host)} > /tmp/said 2>&1 &")
    try:
        yield said
    finally:
        host.machine.shell("touch /tmp/enough")
        host.machine.until(["grep", "-q", "^sent", "/tmp/said"], within=90)
        said += host.machine.run("cat", "/tmp/said").splitlines()


def forge(host: Host) -> str:
    """The command that sends the push of the head."""
    commit = head(host)
    host.machine.write("/tmp/forge.py", FORGE)
    host.machine.write("/tmp/push", raw_of(a_push(after=commit)).decode())
    return f"python3 /tmp/forge.py {host.secret} {commit}"


def head(host: Host) -> str:
    return host.machine.run("git", "-C", "/srv/git/iris.git", "rev-parse", "main").strip()


def push(host: Host) -> str:
    """Push a new commit, and have the forge tell of it once."""
    host.machine.shell(
        "cd /root/iris && git commit --quiet --allow-empty -m More"
        " && git push --quiet /srv/git/iris.git main && chown -R git: /srv/git"
    )
    assert host.machine.shell(f"touch /tmp/enough; {forge(host)}") == "sent 1\n"
    return head(host)


def serves(host: Host, commit: str, within: float = 60) -> None:
    host.machine.until(["bash", "-c", f"curl -fsS http://127.0.0.1:8000/ | grep -q {commit}"], within=within)


def test_the_installation_says_what_it_made_and_what_is_next(host: Host) -> None:
    lines = host.said.splitlines()
    assert "made     account deployd" in lines
    assert "made     /etc/systemd/system/deployd.service" in lines
    assert "made     /usr/local/bin/deployd -> /opt/deployd/.venv/bin/deployd" in lines
    assert "Nothing was started" in host.said
    assert host.secret not in host.said
    again = host.machine.run("deployd", "install", "--dry-run")
    assert {line[:9].rstrip() for line in again.splitlines()[1:]} == {"as it is", "read"}
    (completion, *_) = under("docs/cli.md", "Completion")
    host.machine.shell(f"{completion} && grep -q deployd ~/.bashrc")


def test_the_units_hold_no_fault_and_expose_little(host: Host) -> None:
    assert host.machine.run("systemd-analyze", "verify", "deployd.service", "deployd.socket") == ""
    said = host.machine.run("systemd-analyze", "security", "--no-pager", "--json=short", "deployd.service")
    open_to = {one["name"]: one["exposure"] for one in json.loads(said) if one.get("exposure")}
    overall = host.machine.run("systemd-analyze", "security", "--no-pager", "deployd.service").splitlines()[-1]
    assert float(overall.split("deployd.service: ")[1].split()[0]) <= 1.5, open_to


def test_restarts_and_an_upgrade_under_webhooks_refuse_none_and_the_next_push_goes_live(host: Host) -> None:
    number = host.live_number()
    backup, upgrade, restart = under("docs/operations.md", "Upgrade")
    with forge_that_pushes(host) as said:
        for _ in range(3):
            host.machine.run("systemctl", "restart", "deployd.service")
        host.machine.run("systemctl", "reload", "deployd.service")
        host.machine.shell(backup)
        host.release("99.0.0")
        told = host.machine.shell(f"export {pip_settings()}; {upgrade}", within=400)
        assert f"It runs as it was. Next: {restart}" in told
        host.machine.shell(restart)
        assert host.machine.run("deployd", "version").split() == ["command", "99.0.0", "daemon", "99.0.0"]
    assert said[:-1] == []
    assert int(said[-1].split()[1]) > 20
    assert host.live_number() == number, "the head was live: nothing is deployed anew"
    serves(host, push(host))


def test_a_backup_is_restored_with_the_commands_of_the_page(host: Host) -> None:
    number, (backup, *restore) = host.live_number(), under("docs/operations.md", "Backup and restore")
    host.machine.shell(backup)
    host.machine.shell("\n".join(restore))
    host.machine.until(["curl", "-fsS", "http://127.0.0.1:8081/readyz"])
    assert host.live_number() == number
    serves(host, head(host))


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(host: Host) -> None:
    drop_in = "/run/systemd/system/deployd.service.d/watchdog.conf"
    host.machine.write(drop_in, "[Service]\nWatchdogSec=2\n")
    host.machine.shell("systemctl daemon-reload && systemctl restart deployd.service")
    hanging = host.machine.property("deployd.service", "MainPID")
    host.machine.run("kill", "-STOP", hanging)
    host.machine.until(
        ["bash", "-c", f"pid=$(systemctl show --value -p MainPID deployd) && [ $pid -ne 0 -a $pid != {hanging} ]"]
    )
    host.machine.run("curl", "-fsS", "--max-time", "60", "http://127.0.0.1:8081/healthz")
    assert host.machine.property("deployd.service", "NRestarts") == "1"
    host.machine.shell(f"rm {drop_in} && systemctl daemon-reload && systemctl restart deployd.service")


def test_a_reboot_brings_back_what_served_and_takes_pushes(host: Host) -> None:
    before = host.live_number()
    host.machine.reboot()
    serves(host, head(host))
    host.machine.until(["curl", "-fsS", "http://127.0.0.1:8081/readyz"])
    assert host.live_number() == before
    serves(host, push(host))


def test_an_uninstallation_says_what_serves_on_and_an_installation_goes_on_from_there(host: Host) -> None:
    commit, number = head(host), host.live_number()
    refused = host.machine.try_("deployd", "uninstall", "--purge")
    assert (refused.returncode, "these containers still serve" in refused.stdout) == (1, True), refused.stdout
    said = host.machine.run("deployd", "uninstall")
    assert f"release iris/{number}" in said
    assert "the gateway, which takes the requests" in said
    assert "kept     /etc/deployd: the config and the secrets" in said
    serves(host, commit)
    assert host.machine.try_("systemctl", "cat", "deployd.service").returncode != 0
    assert host.machine.try_("curl", "-fsS", "http://127.0.0.1:8081/healthz").returncode != 0
    host.machine.run("/opt/deployd/.venv/bin/deployd", "install")
    host.machine.run("systemctl", "enable", "--now", "deployd.socket", "deployd.service")
    assert host.live_number() == number
