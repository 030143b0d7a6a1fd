"""Certificates as certbot keeps them, below a service that is not root."""

import pytest

from tests.booted.host import CONFIG, Host
from tests.typed import under

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("booted")]

NAME = "iris.example.com"
SECURE = CONFIG.replace(
    "[gateway]\n", '[gateway]\nhttps_port = 8443\ncertificates = "/etc/letsencrypt/live"\n'
).replace("listen = 8000", f'listen = 8000\nhosts = ["{NAME}"]')
RENEW = f"""
cd /etc/letsencrypt && mkdir -p archive/{NAME} live/{NAME}
chmod 0700 live archive && chgrp --recursive --reference=live archive
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN={NAME} \
  -addext subjectAltName=DNS:{NAME} -keyout archive/{NAME}/privkey$1.pem -out archive/{NAME}/fullchain$1.pem
chmod 0640 archive/{NAME}/privkey$1.pem && chgrp --reference=live archive/{NAME}/*
for part in privkey fullchain; do ln -sfn ../../archive/{NAME}/$part$1.pem live/{NAME}/$part.pem; done
echo keys > live/README
"""
ASK = (
    f"curl -fsS -o /dev/null --cacert /etc/letsencrypt/archive/{NAME}/fullchain$1.pem "
    f"--resolve {NAME}:8443:127.0.0.1 https://{NAME}:8443/"
)
PORTS = (8000, 8443)
# Asks its port again and again, on a new connection each time, until /tmp/stop is there; says what got no answer.
CLIENT = f"""\
import http.client, itertools, pathlib, ssl, sys, time
port, blind = int(sys.argv[1]), ssl._create_unverified_context()
for number in itertools.count(1):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        if port == 8443:
            connection.sock = blind.wrap_socket(connection.sock, server_hostname="{NAME}")
        connection.request("GET", "/", headers={{"Host": "{NAME}"}})
        answer = connection.getresponse()
        if answer.status != 200:
            print("lost", number, answer.status)
        answer.read()
        connection.close()
    except (OSError, http.client.HTTPException) as exc:
        print("lost", number, repr(exc))
    if pathlib.Path("/tmp/stop").exists():
        break
    time.sleep(0.02)
print("asked", number)
"""


def test_a_renewed_certificate_of_certbot_is_served_without_a_lost_request(host: Host) -> None:
    machine = host.machine
    machine.run("bash", "-euc", "mkdir -p /etc/letsencrypt")
    machine.run("bash", "-euc", RENEW, "renew", "1")
    host.configure(SECURE)
    found = machine.try_("deployd", "check")
    assert (found.returncode, "cannot be read: Permission denied" in found.stdout) == (1, True), found.stdout
    assert "let the user of deployd read it" in found.stdout

    machine.shell("\n".join(under("docs/operations.md", "The gateway")))
    found = machine.try_("deployd", "check")
    assert (found.returncode, f"fullchain.pem: {NAME}, until" in found.stdout) == (0, True), found.stdout

    try:
        machine.run("systemctl", "restart", "deployd.service")
        machine.until(["bash", "-c", ASK, "ask", "1"])
        machine.write("/tmp/client.py", CLIENT)
        machine.shell("rm -f /tmp/stop")
        for port in PORTS:
            machine.shell(f"setsid python3 /tmp/client.py {port} > /tmp/client-{port} 2>&1 &")
        machine.run("bash", "-euc", RENEW.replace("chmod 0700 live archive && ", ""), "renew", "2")
        machine.until(["bash", "-c", ASK, "ask", "2"])
        machine.shell("sleep 1; touch /tmp/stop")
        for port in PORTS:
            machine.until(["grep", "-q", "^asked", f"/tmp/client-{port}"], within=90)
            *lost, asked = machine.run("cat", f"/tmp/client-{port}").splitlines()
            assert lost == []
            assert int(asked.split()[1]) > 25
    finally:
        host.configure(CONFIG)
        machine.run("systemctl", "restart", "deployd.service")
